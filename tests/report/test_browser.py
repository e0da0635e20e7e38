"""The page in a real browser: nothing fails, nothing is fetched, and what one can switch, switches.

Needs a Chromium, named by CHROMIUM or found as `chromium`, and for the rules of accessibility npm, which fetches axe-core.
"""

import json
import math
import os
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

import pandas as pd
import pytest

from stages.report import compare, page
from tests.report.conftest import PAIR, write_extras
from tests.report.test_compare import IDENTITY, git, set_accuracy, set_steps

sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -r requirements.txt")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium, or name one in CHROMIUM"),
]

AXE = "axe-core@4.10.3"
QUIET = ("quic", "background-networking", "component-update", "sync", "gpu", "dev-shm-usage")
OPTIONS = ["--no-sandbox", "--no-first-run", *(f"--disable-{what}" for what in QUIET)]
WIDTHS = (360, 820, 1920)
PAGES = ("report/index.html", "report/compare.html")


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def made(summarised, tmp_path_factory) -> Path:
    """The folder of a small study with everything that the page can show, after `page` has run."""
    folder = Path(shutil.copytree(summarised, tmp_path_factory.mktemp("browser") / "study"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TIMINGS_DIR", ".timings")
        write_extras()
        page.main()
        compare_with_a_longer_run(patch)
    return folder


def compare_with_a_longer_run(patch: pytest.MonkeyPatch) -> None:
    """Write report/compare.html: the study as it is beside itself with other steps, another figure and another picture."""
    set_steps(1500)
    git("init", "-q", "-b", "feature/a-long-name")
    git("add", "params.yaml", "metrics", "plots")
    git(*IDENTITY, "commit", "-qm", "state")
    set_steps(3000)
    set_accuracy(0.99)
    shutil.copy("plots/faces.png", "plots/digits.png")
    patch.setenv("EXPS", "feature/a-long-name workspace")
    compare.main()
    git("checkout", "-q", ".")


class Visit:
    """The page opened from disk, with all that it complained of and asked for."""

    def __init__(self, browser, path: Path, width: int = 1280, scheme: str = "light", touch: bool = False) -> None:
        size = {"width": width, "height": 900}
        self.context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce", has_touch=touch)
        self.tab = self.context.new_page()
        self.complaints, self.requests = [], []
        self.tab.on("console", lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None)
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.goto(path.as_uri())

    def draw(self, part: str = "body") -> None:
        """Have the charts of one part of the page drawn, and wait for them; all at once when it is the whole page."""
        plots = f"[...document.querySelectorAll('{part} .plot')]"
        if part == "body":
            self.tab.evaluate("dispatchEvent(new Event('beforeprint'))")
        else:
            self.tab.evaluate(f"{plots}[0]?.scrollIntoView()")
        until(self.tab, f"{plots}.every((plot) => plot.querySelector('svg') && (plot.dataset.chart || plot.dataset.shown))")


def until(tab, condition: str, seconds: float = 30) -> None:
    """Wait until JavaScript is true of the page.

    The browser's own waiting (wait_for_function) evaluates text inside the page, which the page's security policy forbids.
    """
    end = time.monotonic() + seconds
    while not tab.evaluate(condition):
        assert time.monotonic() < end, f"not true after {seconds} s: {condition}"
        tab.wait_for_timeout(50)


@pytest.fixture
def visit(browser, made):
    visits = []

    def opened(page: str = "report/index.html", part: str = "body", **options) -> Visit:
        visits.append(Visit(browser, made / page, **options))
        visits[-1].draw(part)
        return visits[-1]

    yield opened
    for one in visits:
        one.context.close()


@pytest.fixture(scope="module")
def axe(tmp_path_factory) -> str:
    """axe-core's script, out of the npm registry."""
    folder = tmp_path_factory.mktemp("axe")
    try:
        command = ["npm", "pack", "--silent", AXE]
        name = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"axe-core can't be had: {error}")
    with tarfile.open(folder / name) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", PAGES)
def test_nothing_fails_nothing_is_fetched_and_nothing_sticks_out(visit, page, width, scheme):
    shown = visit(page, width=width, scheme=scheme)
    assert shown.complaints == []
    assert [url for url in shown.requests if not url.startswith(("file:", "data:"))] == []
    assert shown.tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert shown.tab.evaluate("[...document.querySelectorAll('.card')].every((card) => card.scrollWidth <= card.clientWidth)")
    assert shown.tab.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")


def test_a_script_that_is_not_the_page_s_own_does_not_run(visit):
    tab = visit(part="#brief").tab
    tab.evaluate("document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.ran = true' }))")
    assert tab.evaluate("window.ran") is None


def test_the_table_holds_the_numbers_of_the_summary(visit, made):
    rows = visit(part="#summary").tab.locator("#summary table.rows tbody tr").all_inner_texts()
    summary = json.loads((made / "metrics/summary.json").read_text())
    for method, name in (("source_only", "source only"), ("dann", "DANN"), ("dsn", "DSN"), ("target_only", "target only")):
        figures = summary["adaptation"][PAIR][method]["accuracy"]
        shown = f"{100 * figures['mean']:.2f} ± {100 * figures['std']:.2f} (n = {figures['n']})"
        assert any(row.startswith(f"{PAIR}, {name}") and shown in row for row in rows)
    distance = summary["stylegan2"]["clean"]["efficientnet_lite0"]["fd"]
    assert any("clean protocol" in row and f"{distance['mean']:.2f} ± {distance['std']:.2f}" in row for row in rows)
    accuracy = summary["acgan"]["judge_accuracy"]
    assert any(f"{100 * accuracy['mean']:.2f} ± {100 * accuracy['std']:.2f}" in row for row in rows)


def test_bars_stand_for_the_summary_s_accuracies(visit, made):
    labels = visit().tab.locator("[data-chart=accuracy] svg .role-mark text").all_text_contents()
    methods = json.loads((made / "metrics/summary.json").read_text())["adaptation"][PAIR]
    assert labels == [f"{100 * figures['accuracy']['mean']:.0f}" for figures in methods.values()]


def test_the_slider_moves_through_the_snapshots_by_keyboard(visit):
    tab = visit(part="#origin").tab
    progress = tab.locator("#stylegan2 .progress")
    assert progress.locator("output").inner_text() == "step 10"
    progress.locator("input").focus()
    tab.keyboard.press("ArrowLeft")
    assert progress.locator("output").inner_text() == "step 5"
    assert progress.locator("figure:visible").get_attribute("data-step") == "5"


@pytest.mark.parametrize("shown, count", [("both", 40), ("source", 20), ("target", 20), ("wrong", 4)])
def test_the_switches_choose_what_is_shown(visit, shown, count):
    tab = visit(part="#tsne").tab
    tab.locator(f"#tsne input[value={shown}]").check()
    until(tab, f"document.querySelector('#tsne .plot').dataset.shown === '{count}'")
    assert tab.locator("#tsne svg .mark-symbol.role-mark").first.locator("path").count() == count


def colours(tab) -> set[str]:
    marks = tab.locator("#tsne svg .mark-symbol.role-mark").first.locator("path")
    return {mark.get_attribute("fill") for mark in marks.all()}


def test_colours_stand_for_classes_or_domains(visit):
    tab = visit(part="#tsne").tab
    assert len(colours(tab)) == 10
    tab.locator("#tsne input[value=domain]").check()
    until(tab, "document.querySelectorAll('#tsne svg .role-legend-label text').length === 2")
    assert len(colours(tab)) == 2


def test_the_methods_have_their_own_points(visit):
    tab = visit(part="#tsne").tab
    places = set()
    for method in ("source_only", "dann", "dsn"):
        tab.locator(f"#tsne input[value={method}]").check()
        tab.wait_for_timeout(100)
        places.add(tab.locator("#tsne svg .mark-symbol.role-mark path").first.get_attribute("transform"))
    assert len(places) == 3


def test_hovering_shows_image_label_and_prediction(visit, made):
    tab = visit(part="#tsne").tab
    tab.locator("#tsne input[value=wrong]").check()
    until(tab, "document.querySelector('#tsne .plot').dataset.shown === '4'")
    tab.locator("#tsne svg .mark-symbol.role-mark path").first.hover(force=True)
    table = pd.read_csv(made / f"results/{PAIR}-dsn/embedding.csv")
    row = table[(table["domain"] == "target") & (table["label"] != table["prediction"])].iloc[0]
    said = f"target image of a {row['label']}, predicted {row['prediction']}: wrong."
    sync_api.expect(tab.locator("#tsne .picked p")).to_have_text(said)
    assert "data:image/webp" in tab.locator("#tsne .thumb").evaluate("(thumb) => thumb.style.backgroundImage")


def test_a_tap_beside_a_mark_shows_the_nearest_image(visit, made):
    tab = visit(part="#tsne", width=360, touch=True).tab
    tab.locator("#tsne input[value=wrong]").check()
    until(tab, "document.querySelector('#tsne .plot').dataset.shown === '4'")
    table = pd.read_csv(made / f"results/{PAIR}-dsn/embedding.csv")
    rows = table[(table["domain"] == "target") & (table["label"] != table["prediction"])]
    marks = tab.locator("#tsne svg .mark-symbol.role-mark path")
    said = [f"target image of a {row.label}, predicted {row.prediction}: wrong." for row in rows.itertuples()]
    assert marks.count() == len(said) == 4 and len(set(said)) > 1
    for number in range(4):
        marks.nth(number).scroll_into_view_if_needed()
        boxes = [mark.bounding_box() for mark in marks.all()]
        centres = [(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in boxes]
        place = centres[number][0] + 9, centres[number][1]
        nearest = min(range(4), key=lambda one: math.dist(centres[one], place))
        tab.touchscreen.tap(*place)
        sync_api.expect(tab.locator("#tsne .picked p")).to_have_text(said[nearest])


def test_far_from_every_mark_nothing_is_chosen(visit):
    tab = visit(part="#tsne").tab
    tab.locator("#tsne input[value=wrong]").check()
    until(tab, "document.querySelector('#tsne .plot').dataset.shown === '4'")
    tab.locator("#tsne .plot svg").hover(position={"x": 1, "y": 1}, force=True)
    assert tab.locator("#tsne .picked p").inner_text() == "No image chosen."


def test_the_answers_bars_are_as_long_as_their_values(visit):
    tab = visit(part="#brief").tab
    widths = tab.evaluate("[...document.querySelectorAll('#brief .card:nth-child(3) i')].map((bar) => bar.offsetWidth)")
    shares = [0.52, 0.59, 0.615, 0.96]
    assert widths == pytest.approx([widths[3] * share / 0.96 for share in shares], abs=1.5)


def test_compared_results_stand_in_one_table(visit):
    tab = visit("report/compare.html").tab
    heads = tab.locator("#params thead th").all_inner_texts()
    assert heads == ["param", "feature/a-long-name", "workspace"]
    assert tab.locator("#params tbody tr").all_inner_texts() == ["adaptation.dann.steps\t1500\t3000"]
    assert "▲ +0.13 better" in tab.locator("#figures table").first.inner_text()
    assert tab.locator("#pictures img").count() == 2


def test_points_can_be_stepped_through_by_keyboard(visit):
    tab = visit(part="#tsne").tab
    tab.locator("#tsne button", has_text="next").focus()
    said = set()
    for _ in range(4):
        tab.keyboard.press("Enter")
        said.add(tab.locator("#tsne .picked p").inner_text())
    assert len(said) > 1 and all("image of a" in words for words in said)


def test_everything_that_reacts_can_be_reached_by_keyboard(visit):
    tab = visit(part="#brief").tab
    reached = set()
    for _ in range(200):
        tab.keyboard.press("Tab")
        reached.add(tab.evaluate("document.activeElement.id || document.activeElement.name || document.activeElement.tagName"))
    assert {"A", "SUMMARY", "BUTTON", "method", "colour", "shown"} <= reached


def test_networks_unfold(visit):
    tab = visit(part="#networks").tab
    network = tab.locator("#networks details").first
    assert not network.locator("pre").is_visible()
    network.locator("summary").press("Enter")
    assert "Linear(1, 2)" in network.locator("pre").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_no_serious_rule_of_accessibility_is_broken(visit, axe, page, scheme):
    tab = visit(page, scheme=scheme).tab
    tab.evaluate("document.querySelectorAll('details').forEach((details) => (details.open = true))")
    tab.evaluate(axe)
    found = tab.evaluate("axe.run()")
    serious = [rule for rule in found["violations"] if rule["impact"] in ("serious", "critical")]
    assert [(rule["id"], [node["html"][:200] for node in rule["nodes"]][:3]) for rule in serious] == []
    assert len(found["passes"]) > 20
