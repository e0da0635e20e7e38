"""The answers at the top: what is compared with what, in which words, and that stand-ins are called so."""

import json
from pathlib import Path

import pytest
import yaml

from stages.report import brief, comparison
from stages.report.results import Study
from stages.runtime import params
from tests.report.conftest import summarise_with_a_blank_picture
from tests.report.test_page import made


def answers() -> list[brief.Answer]:
    study, summary = Study(*params.read(*Study.KEYS)), json.loads(Path("metrics/summary.json").read_text())
    return list(brief.answers(study, summary, comparison.rows(study, summary)))


def test_faces_lie_between_untrained_networks_and_real_images(study):
    faces = answers()[0]
    assert [(bar.label, bar.text, bar.asked) for bar in faces.bars] == [
        ("untrained", "1100.0", False),
        ("generated", "210.0 ± 14.1", True),
        ("real images", "60.0", False),
        ("recall, generated", "10.0 %", True),
        ("recall, real faces", "80.0 %", False),
    ]
    assert [round(bar.share, 3) for bar in faces.bars] == [1, 0.191, 0.055, 0.1, 0.8]
    assert faces.verdict == "86 % of the way from untrained networks to real images; their recall is 10 %, of real faces 80 %"
    assert faces.note.startswith("fd on efficientnet_lite0")


def test_faces_no_better_than_an_untrained_network_s_are_said_to_be_so(study):
    summary = json.loads(Path("metrics/summary.json").read_text())
    summary["stylegan2"]["clean"]["efficientnet_lite0"]["fd"]["mean"] = 1200.0
    Path("metrics/summary.json").write_text(json.dumps(summary))
    assert answers()[0].verdict.startswith("No nearer to real images than untrained networks; their recall")


def test_digits_lie_between_chance_and_real_digits_and_their_variety_stands_beside(study):
    digits = answers()[1]
    assert [(bar.label, bar.text, bar.asked) for bar in digits.bars] == [
        ("chance", "10 %", False),
        ("generated", "86.0 ± 1.4 %", True),
        ("real digits", "97.0 %", False),
        ("recall, generated", "51.0 ± 1.4 %", True),
        ("recall, real digits", "90.0 %", False),
    ]
    assert [round(bar.share, 3) for bar in digits.bars] == [0.1, 0.86, 0.97, 0.51, 0.9]
    assert digits.verdict == "86 % are read as the digit that was asked for; their recall is 51 %, of real digits 90 %"


def test_methods_are_set_against_source_only_and_the_bound_is_no_gain(study):
    pair = answers()[2]
    assert pair.verdict == "≈ DANN +7.0, ≈ DSN +9.5 points over source only"
    assert pair.note.endswith("; ≈: not sure, as these seeds differ")
    assert [(bar.label, bar.asked) for bar in pair.bars] == [
        ("source only", True),
        ("DANN", True),
        ("DSN", True),
        ("target only", False),
    ]


# sqrt(0.03^2 / 4 + 0.04^2 / 4) is 0.025, of 5.6 degrees of freedom: accuracies must differ by 0.0624.
@pytest.mark.parametrize(
    "mean, words",
    [(0.564, "▲ DSN +6.4"), (0.561, "≈ DSN +6.1"), (0.5, "≈ DSN +0.0"), (0.439, "≈ DSN −6.1"), (0.436, "▼ DSN −6.4")],
)
def test_a_gain_says_whether_it_is_more_than_the_spread(mean, words):
    assert brief._gain("dsn", {"mean": mean, "std": 0.03, "n": 4}, {"mean": 0.5, "std": 0.04, "n": 4}) == words


@pytest.mark.parametrize("counts", [(1, 1), (1, 3), (3, 1)])
def test_a_gain_of_a_single_seed_has_no_mark(counts):
    value, base = ({"mean": mean, "std": 0.01 if n > 1 else None, "n": n} for mean, n in zip((0.6, 0.5), counts, strict=True))
    assert brief._gain("dsn", value, base) == "DSN +10.0"
    assert brief._gain("dsn", base, value) == "DSN −10.0"


def test_a_card_of_a_single_seed_says_that_no_spread_is_known(study):
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["adaptation"]["seeds"] = [1]
    Path("params.yaml").write_text(yaml.safe_dump(content))
    summarise_with_a_blank_picture()
    top = " ".join(made().text.split()).split("Every figure, the study’s beside ours")[0]
    assert top.count("n = 1, no spread known") == 1 and top.count("n = 2") == 2
    assert "DANN +6.0, DSN +8.0 points over source only" in top and not set("▲▼≈") & set(top)


def test_without_source_only_no_gain_is_claimed(study):
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["adaptation"]["methods"] = ["dann", "dsn"]
    Path("params.yaml").write_text(yaml.safe_dump(content))
    summarise_with_a_blank_picture()
    assert answers()[2].verdict.startswith("no gain known")


def test_stand_ins_are_marked_at_the_top(study):
    text = " ".join(made().text.split())
    top = text[: text.index("Every figure, the study’s beside ours")]
    assert "Stand-in data." in top and "orl stand-in ; n = 2" in top and "syn stand-in , mnistm stand-in ; n = 2" in top


def test_official_data_is_set_beside_the_study_s(paper_study):
    text = " ".join(made().text.split())
    top = text[: text.index("Every figure, the study’s beside ours")]
    assert "stand-in" not in top.lower() and "the upright line is the study’s figure" in top and "FID, clean protocol" in top
    _, digits, pair, *_ = answers()
    assert [bar.study for bar in digits.bars] == [None, 0.825, None, None, None]
    assert [bar.study for bar in pair.bars] == [0.4891, 0.5799, 0.6228, 0.9758]
