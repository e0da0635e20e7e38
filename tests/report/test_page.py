"""The page stands alone, shows every picture, and takes nothing that it is given for HTML."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from stages.report import page, readings, render, timings, verdicts
from stages.report.results import Study
from stages.report.timings import stage_names
from stages.runtime import params
from stages.runtime.errors import UserError
from stages.runtime.files import read_json, write_json
from tests.report.conftest import (
    OWN_FOLDER,
    PAIR,
    ablation,
    summarise_with_a_blank_picture,
    write_extras,
    write_generation,
    write_regret,
)

ROOT = Path(__file__).resolve().parents[2]
VOID = {"meta", "img", "link", "br", "input"}


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
        if self.open[-1:] not in (["script"], ["style"]):
            self.text += data


def made() -> Reader:
    page.main()
    return Reader(Path("report/index.html").read_text(encoding="utf-8"))


def test_the_page_holds_pictures_and_scripts_and_fetches_nothing(study):
    reader = made()
    pictures = [address for address in reader.addresses if not address.startswith("#")]
    # Faces of two protocols, real ones and two snapshots; digits and two snapshots; a strip of each at the top.
    assert len(pictures) == reader.tags.count("img") == 10
    assert all(re.match("data:image/(png|webp);base64,", address) for address in pictures)
    assert not {"link", "iframe", "object"} & set(reader.tags)
    style = re.search("<style>(.*?)</style>", Path("report/index.html").read_text(), re.DOTALL)[1]
    assert "url(" not in style and "@import" not in style


def test_the_novelty_stands_beside_the_nearest_training_faces(study):
    write_extras()
    assert "Nearest training faces" in made().text and "times as far" not in made().text
    summarise_with_a_blank_picture()
    text = " ".join(made().text.split())
    assert "A generated face is 0.8 ± 0.07 times as far from its nearest training face" in text
    assert "8.0 ± 0.7 % of them are nearer to one than 95 % of the test faces" in text
    assert "they are 1.60 ± 0.14 times as far, and 0.8 ± 0.1 % of them nearer than 95 % of the test faces" in text


def test_the_page_runs_its_own_scripts_and_no_others(study):
    made()
    html = Path("report/index.html").read_text(encoding="utf-8")
    policy = re.search('http-equiv=.Content-Security-Policy. content="([^"]*)', html)[1]
    scripts = re.findall('<script type="module">(.*?)</script>', html, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    assert unescape(policy) == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}"
    assert "vegaEmbed" in scripts[0] and scripts[1] == (render.HTML / "page.js").read_text(encoding="utf-8")


def test_the_page_depends_on_its_templates():
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    assert (ROOT / "stages/report/html").samefile(render.HTML)
    assert "stages/report/html" in graph["stages"]["page"]["deps"]


def test_the_parts_come_in_the_studys_order(study):
    made()
    sections = re.findall('<section id="(.*?)"', Path("report/index.html").read_text(encoding="utf-8"))
    assert sections == ["brief", "summary", "stylegan2", "acgan", "adaptation", "tsne", "experiments", "times", "origin"]


def test_means_and_spreads_of_the_summary_are_shown(study):
    text = made().text
    for shown in ("59.0 ± 1.4", "86.0 ± 1.4 %", "51.0 ± 1.4 %", "210.0 ± 14.1", "97.0 %", "Seeds 0, 1"):
        assert shown in text


def test_the_ablation_s_verdicts_stand_on_the_page_and_in_the_summary(study):
    hostile = "<script>alert(1)</script> | [x](y)"
    verdicts.write([*ablation(), *ablation(name="other", claim=hostile, verdict="open")])
    summarise_with_a_blank_picture()
    reader = made()
    text = " ".join(reader.text.split())
    figures = "fd, lower is better without 93.50 ± 1.50 (n = 3) with 81.25 ± 1.50 (n = 3)"
    assert f"Mixing styles helps mixing confirmed +12.25 ± 3.40 {figures}" in text
    assert hostile in text and reader.tags.count("script") == made_without_ablation().tags.count("script")
    summary = Path("plots/summary.md").read_text(encoding="utf-8")
    assert summary.count("Mixing styles helps") == 1 and r"\<script\>" in summary and "81.25 ± 1.50 (n = 3)" in summary


def test_figures_read_beside_the_claims_stand_on_the_page_as_text(study):
    verdicts.write(ablation())
    lines = (
        "best,<b>,a-b-dann-0,200,accuracy,0.75,",
        "best,<b>,a-b-dann-0,200,regret.last,0.125,",
        "laptop,,acgan-0,9,fd,80.5,a=[]",
    )
    readings.PATH.write_text("\n".join([",".join(readings.COLUMNS), *lines, ""]))
    reader = made()
    text = " ".join(reader.text.split()).split("Read beside the claims")[1]
    assert "best at <b> run step accuracy regret, last a-b-dann-0 200 75.00 12.50 " in text
    assert "laptop with a=[] run step fd acgan-0 9 80.50 " in text
    assert "b" not in reader.tags


def test_readings_stand_on_the_page_without_any_claim(study):
    verdicts.PATH.unlink(missing_ok=True)
    readings.PATH.write_text("\n".join([",".join(readings.COLUMNS), "laptop,,acgan-0,9,fd,80.5,a=[]", ""]))
    text = made().text
    assert "80.50" in text and "What each ingredient is worth" not in text


def test_every_rule_s_regret_stands_on_the_page_where_one_is_known(study):
    for seed, regret in enumerate((0.125, 0.135)):
        write_regret("dann", seed, "confident_share", regret)
    summarise_with_a_blank_picture()
    text = " ".join(made().text.split()).split("the regret of each rule")[1].split("syn → mnistm %")[0]
    assert "the accuracy of the best snapshot lies above that of the one that the rule takes, in percentage points" in text
    assert "labels of the target test are used only to report it. Seeds 0, 1, n = 2, mean ± standard deviation" in text
    rows = "syn → mnistm source only 0.5 ± 0.7 – DANN 0.5 ± 0.7 13.0 ± 0.7 DSN 0.5 ± 0.7 – target only 0.5 ± 0.7 –"
    assert f"regret, points last confident share {rows}" in text
    for path in Path("results").glob(f"{PAIR}-*/evaluation.json"):
        write_json(path, read_json(path) | {"selection": {}})
    summarise_with_a_blank_picture()
    assert "regret" not in made().text.lower()


def test_the_domains_distance_has_its_spread_and_number_of_seeds(study):
    text = " ".join(made().text.split())
    assert "DANN 59.0 ± 1.4 96.0 1.62 ± 0.18 58 58" in text
    assert "Target test and the domains’ distance: seeds 0, 1, n = 2, mean ± standard deviation." in text


@pytest.mark.parametrize("preset", ["packaged", "official"])
def test_what_tuning_saw_is_said_of_every_preset_alike(preset, request):
    request.getfixturevalue({"packaged": "study", "official": "paper_study"}[preset])
    text = " ".join(made().text.split())
    assert "Except for “target only”, no target label took part in training, and none chose the snapshot." in text
    assert "Settings of the presets that are not the study’s own are a publication’s, or ours." in text
    tuned = "on syn → mnistm alone, by labels of target training images that no training saw (oracle_dev );"
    assert f"What was tuned of them was tuned, as far as is on record, {tuned}" in text
    assert "The other pairs take them over, but that a grey source with a coloured target has source_augment: strong" in text
    assert "As far as is on record, no test image of a target took part in a choice." in text
    assert "laptop preset" not in text


def made_without_ablation() -> Reader:
    verdicts.write([])
    assert "Ablation" not in (reader := made()).text
    return reader


def test_one_seed_is_said_to_be_one(study):
    content = yaml.safe_load(Path("params.yaml").read_text())
    for section in ("stylegan2", "acgan", "adaptation"):
        content[section]["seeds"] = [0]
    Path("params.yaml").write_text(yaml.safe_dump(content))
    summarise_with_a_blank_picture()
    text = " ".join(made().text.split())
    assert "Seed 0, n = 1, no spread known." in text and "One seed, so no spread is known." in text and "; n = 1" in text
    assert "(n = 2)" not in text and "± " not in text.replace("mean ± standard deviation over n seeds", "")


def test_figures_are_grouped_by_what_can_be_compared(study):
    made()
    html = Path("report/index.html").read_text(encoding="utf-8")
    assert re.findall('<tbody class="(.*?)">', html) == ["ours", "theirs"]
    ours = html[html.index('<tbody class="ours">') : html.index('<tbody class="theirs">')]
    assert "fd on efficientnet_lite0" in ours and "fid" not in ours.lower()


def test_the_study_s_figures_come_first_where_they_are_comparable(paper_study):
    made()
    html = Path("report/index.html").read_text(encoding="utf-8")
    assert re.findall('<tbody class="(.*?)">', html)[0] == "both"


def test_device_precision_and_versions_are_told(study):
    text = " ".join(made().text.split())
    assert re.search(r"NVIDIA GPUs \S+", text) and "precision, StyleGAN2 bf16" in text and re.search(r"numpy \d+\.\d+", text)


def test_the_recall_of_each_class_is_drawn_beside_that_of_real_digits(study):
    made()
    html = Path("report/index.html").read_text(encoding="utf-8")
    charts = json.loads(re.search('<script type="application/json" id="charts">(.*?)</script>', html, re.DOTALL)[1])
    [rows] = charts["diversity_classes"]["datasets"].values()
    drawn = {(row["images"], row["class"]): row["share"] for row in rows}
    kinds = {"generated digits": 0.5, "real training digits": 0.9}
    assert drawn == {(kind, digit): value for kind, value in kinds.items() for digit in range(9)}


def test_lambda_has_an_axis_of_its_own(study):
    made()
    html = Path("report/index.html").read_text(encoding="utf-8")
    charts = json.loads(re.search('<script type="application/json" id="charts">(.*?)</script>', html, re.DOTALL)[1])
    axes = [layer["encoding"]["y"] for layer in charts[f"losses_{PAIR}_dann"]["layer"]]
    assert [(axis["title"], axis["axis"]["orient"]) for axis in axes] == [("lambda (grey)", "right"), ("loss, log scale", "left")]
    assert "layer" not in charts[f"losses_{PAIR}_source_only"]


def test_other_data_is_said_not_to_be_comparable(study):
    text = made().text
    assert "Data sets out of packages are stand-ins, here mfeat, mnistm, orl, syn" in text
    assert "figures on them can’t be compared with the study’s" in " ".join(text.split())
    assert "57.99" in text and "28.16" in text and "study 58.0" not in text


def test_the_studys_figure_stands_under_ours_where_the_pair_is_the_same(paper_study):
    text = made().text
    assert "study 58.0" in text and "stand-ins" not in text


@pytest.mark.parametrize("changed", ["photographs", "cap"])
def test_the_studys_figure_stands_nowhere_where_data_are_not_whole_or_not_the_publishers(changed, paper_study):
    content = yaml.safe_load(Path("params.yaml").read_text())
    if changed == "cap":
        content["adaptation"]["pairs"]["svhn-mnistm"]["max_source"] = 100
    else:
        content["data"]["datasets"]["mnistm"]["source"] = "official_over_photographs"
    Path("params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    text = " ".join(made().text.split())
    assert "study 58.0" not in text and ("mnistm stands in for the study’s own data" in text) == (changed == "photographs")


def test_the_page_and_the_summary_table_say_the_same(paper_study):
    text = " ".join(re.sub("[▲▼] |better|worse|equal", "", made().text).split())
    for row in Path("plots/summary.md").read_text().split("\n# ")[0].splitlines():
        if row.startswith("| ") and "---" not in row and "| figure" not in row:
            name, data, *figures = [cell.strip().replace("\\", "") for cell in row.strip("|").split(" | ")]
            assert f"{name} {data} {' '.join(figures)}" in text


def test_a_difference_says_better_or_worse_beside_its_sign(paper_study):
    made()
    html = Path("report/index.html").read_text(encoding="utf-8")
    # A distance is better when lower, an accuracy when higher.
    assert '<td class="worse">▼ +231.84 <small>worse</small></td>' in html
    assert re.search('<td class="better">▲ [+]\\d+.\\d\\d <small>better</small></td>', html)


def test_each_extractor_has_a_table_of_both_protocols_with_floors_and_numbers_of_images(paper_study):
    text = " ".join(made().text.split())
    assert "On inception " in text and "On inception_torchvision " in text and "(is_torchvision) 2.50 2.50" in text
    for row in (
        "Fréchet distance to the test images (fid) 260.0 ± 14.1 210.0 ± 14.1",
        "Fréchet distance to the test images (fd) 260.0 ± 14.1 210.0 ± 14.1",
        "its floor training images in the samples’ place 60.00 60.00",
        "Precision share of generated faces among the real 0.4 0.4 its ceiling training images in the samples’ place 0.7 0.7",
        "Recall share of real faces among the generated 0.1 0.1 its ceiling training images in the samples’ place 0.8 0.8",
        "of the untrained networks – 1100.0",
        "Generated images 1,000 40",
        "Real test images 80 80",
    ):
        assert row in text


def test_three_extractors_fit_on_the_page(study):
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["evaluation"]["extractors"] = ["inception", "efficientnet_lite0", "inception_torchvision"]
    Path("params.yaml").write_text(yaml.safe_dump(content))
    for seed in (0, 1):
        write_generation(seed, content["evaluation"]["extractors"])
    summarise_with_a_blank_picture()
    text = made().text
    assert text.index("On inception ") < text.index("On efficientnet_lite0") < text.index("On inception_torchvision")


def test_a_users_own_folder_is_named_and_its_place_is_not(paper_study):
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["data"]["mirror"] = "http://mirror.example.org/secret"
    content["data"]["folders"] |= {"digits": "/a: 'quoted' # place/æ"}
    Path("params.yaml").write_text(yaml.safe_dump(content, allow_unicode=True))
    reader = made()
    html = Path("report/index.html").read_text(encoding="utf-8")
    assert "svhn own folder" in " ".join(reader.text.split())
    for place in (OWN_FOLDER, "mirror.example.org", "quoted"):
        assert place not in html
    assert yaml.safe_load(page.without_places(Path("params.yaml").read_text())) == content | {
        "data": content["data"] | {"mirror": "(not shown)", "folders": {"svhn": "(not shown)", "digits": "(not shown)"}}
    }


def test_without_own_folders_and_mirror_the_params_are_shown_as_they_are(study):
    text = Path("params.yaml").read_text()
    assert page.without_places(text) == text


def test_times_of_this_studys_stages_are_shown_and_of_no_others(study):
    write_json(".timings/generation.train_stylegan2-0.json", {"stage": "x", "seconds": 600, "peak_bytes": 2_500_000_000})
    write_json(".timings/adaptation.train-syn-mnistm-dann-1.json", {"stage": "x", "seconds": 90, "peak_bytes": 10**9})
    write_json(".timings/adaptation.train-old-pair-dann-1.json", {"stage": "x", "seconds": 99999, "peak_bytes": 9 * 10**12})
    Path(".timings/report.summarize.json").write_text("{")
    text = " ".join(made().text.split())
    assert "StyleGAN2 10 min 2.50 GB 1" in text and "adaptation 2 min 1.00 GB 1" in text and "all 12 min 2.50 GB 2" in text
    assert "old-pair" not in text


def test_every_stage_of_the_graph_has_its_name_among_the_timed(paper_study):
    study = Study(*params.read(*Study.KEYS))
    names = set(stage_names(study))
    assert {
        "data.import_folder-svhn",
        "data.prepare-celeba",
        "evaluation.statistics-inception",
        "evaluation.evaluate_stylegan2-1-inception_torchvision",
        "generation.sample_stylegan2-0",
    } <= names
    assert "data.prepare-svhn" not in names


def test_without_times_the_page_says_so(study):
    assert "No stage has run on this machine" in made().text


def test_the_page_names_the_commit_where_there_is_one(study):
    assert "Commit" not in made().text
    subprocess.run(["git", "init", "-q"], check=True)
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *identity, "commit", "-q", "--allow-empty", "-m", "state"], check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    assert commit[:7] in made().text
    assert "perhaps with changes" not in made().text


def test_a_commit_whose_changes_git_does_not_tell_is_not_shown_as_it_is(study, monkeypatch):
    monkeypatch.setattr(timings, "_git", lambda verb, *words: "0123456789ab" if verb == "rev-parse" else None)
    assert "0123456789ab, perhaps with changes" in made().text


def test_hostile_words_stay_words(study):
    hostile = "</pre><script>alert(1)</script><img src=x>"
    Path("params.yaml").write_text(Path("params.yaml").read_text() + f"# {hostile}\n")
    reader = made()
    assert reader.tags.count("script") == 4 and hostile in reader.text
    assert all(address != "x" for address in reader.addresses)


@pytest.mark.parametrize("path", ["metrics/summary.json", "samples/stylegan2-0.npz", "results/judge/history.csv"])
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
