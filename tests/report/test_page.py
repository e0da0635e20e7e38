"""The page stands alone, shows every picture, and takes nothing that it is given for HTML."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from stages.report import page, reference
from stages.report.timings import part_of
from stages.runtime.files import write_json
from stages.runtime.stage import UserError

VOID = {"meta", "img", "link", "br"}


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that tags are closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.tags, self.addresses, self.text = [], [], [], ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.text += " "

    def handle_data(self, data):
        self.text += data


def made() -> Reader:
    page.main()
    return Reader(Path("report/index.html").read_text(encoding="utf-8"))


def test_the_page_holds_all_pictures_and_fetches_nothing(study):
    reader = made()
    pictures = [address for address in reader.addresses if not address.startswith("#")]
    assert len(pictures) == len(list(Path("plots").iterdir())) == reader.tags.count("img")
    assert all(address.startswith("data:image/png;base64,") for address in pictures)
    assert not {"script", "link", "iframe", "object"} & set(reader.tags)
    style = re.search("<style>(.*?)</style>", Path("report/index.html").read_text(), re.DOTALL)[1]
    assert "url(" not in style and "@import" not in style


def test_the_parts_come_in_the_studys_order(study):
    text = made().text
    titles = ("The study’s own", "StyleGAN2: faces", "ACGAN: digits", "The judge ", "Domain adaptation:", "t-SNE of the codes")
    places = [text.index(title) for title in titles]
    assert places == sorted(places)


def test_means_and_spreads_of_the_summary_are_shown(study):
    text = made().text
    for shown in ("59.0 ± 1.4", "86.0 ± 1.4 %", "210.0 ± 14", "97.0 %", "Seeds 0, 1"):
        assert shown in text


def test_other_data_is_said_not_to_be_comparable(study):
    text = made().text
    assert "not comparable with ours" in text and "study 57.99" not in text
    assert "57.99" in text and "28.16" in text


def test_the_studys_figure_stands_under_ours_where_the_pair_is_the_same(study, monkeypatch):
    monkeypatch.setattr(reference, "ADAPTATION", {"syn-mnistm": (0.4, 0.5799, 0.6, 0.9)})
    text = made().text
    assert "study 58.0" in text and "not comparable with ours" not in text


def test_times_of_this_studys_stages_are_shown_and_of_no_others(study):
    write_json(".timings/generation.train_stylegan2-0.json", {"stage": "x", "seconds": 600, "peak_bytes": 2_500_000_000})
    write_json(".timings/adaptation.train-syn-mnistm-dann-1.json", {"stage": "x", "seconds": 90, "peak_bytes": 10**9})
    write_json(".timings/adaptation.train-old-pair-dann-1.json", {"stage": "x", "seconds": 99999, "peak_bytes": 9 * 10**12})
    Path(".timings/report.summarize.json").write_text("{")
    text = " ".join(made().text.split())
    assert "StyleGAN2 10 min 2.50 GB 1" in text and "adaptation 2 min 1.00 GB 1" in text and "all 12 min 2.50 GB 2" in text
    assert "old-pair" not in text


def test_without_times_the_page_says_so(study):
    assert "No stage has run on this machine" in made().text


def test_the_page_names_the_commit_where_there_is_one(study):
    assert "commit" not in made().text
    subprocess.run(["git", "init", "-q"], check=True)
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *identity, "commit", "-q", "--allow-empty", "-m", "state"], check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    assert commit[:7] in made().text


def test_hostile_words_stay_words(study):
    hostile = "</pre><script>alert(1)</script><img src=x>"
    Path("params.yaml").write_text(Path("params.yaml").read_text() + f"# {hostile}\n")
    reader = made()
    assert "script" not in reader.tags and hostile in reader.text
    assert all(address != "x" for address in reader.addresses)


@pytest.mark.parametrize("path", ["metrics/summary.json", "plots"])
def test_what_is_missing_is_named(study, path):
    Path(path).rename("elsewhere")
    with pytest.raises(UserError, match=f"^{path}.*dvc repro"):
        page.main()


def test_the_page_needs_neither_torch_nor_matplotlib(study):
    code = "import sys, stages.report.page; sys.exit(any(name in sys.modules for name in ('torch', 'matplotlib')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[2]).returncode == 0


def test_summarize_needs_no_torch(study):
    code = "import sys, stages.report.summarize; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[2]).returncode == 0


@pytest.mark.parametrize(
    "value, shown",
    [
        (1188.23, "1188.2"),
        (67.2, "67.20"),
        (0.0031, "0.0031"),
        (-0.25, "-0.25"),
        ({"mean": 2.5, "std": 0.125, "n": 3}, "2.50 ± 0.12"),
    ],
)
def test_figures_have_sensible_digits(value, shown):
    assert page.figure(value) == shown


@pytest.mark.parametrize(
    "seconds, shown", [(0.4, "0 s"), (59, "59 s"), (90, "2 min"), (3600, "1 h 00 min"), (3541, "59 min"), (3599, "1 h 00 min")]
)
def test_durations_are_said_as_people_say_them(seconds, shown):
    assert page.duration(seconds) == shown


@pytest.mark.parametrize(
    "stage, part",
    [
        ("evaluation.evaluate_stylegan2-0", "StyleGAN2"),
        ("generation.sample_acgan-0", "ACGAN"),
        ("evaluation.train_judge", "judge"),
        ("adaptation.train-a-b-dann-0", "adaptation"),
        ("data.fetch-efficientnet_lite0", "data"),
        ("report.summarize", "report"),
    ],
)
def test_stages_belong_to_the_part_they_serve(stage, part):
    assert part_of(stage) == part
