"""The study's figures beside ours: what stands together, the difference, and words that Markdown leaves alone."""

from dataclasses import replace
from pathlib import Path

import yaml

from stages.report import comparison, reference
from stages.report.comparison import Row, escape, markdown, rows
from stages.report.results import Study
from stages.runtime import params
from stages.runtime.files import read_json
from tests.report.conftest import ablation, summarise_with_a_blank_picture, write_extras, write_regret


def table() -> dict[str, Row]:
    return {row.name: row for row in rows(Study(*params.read(*Study.KEYS)), read_json("metrics/summary.json"))}


def change(**data) -> None:
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["stylegan2"]["dataset"] = data["faces"]
    content["data"]["folders"]["orl_faces"] = "/home/someone/faces"
    Path("params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def test_the_studys_figures_are_the_ones_it_printed():
    assert reference.FID == 28.158576252243705
    assert reference.INCEPTION_SCORE == 2.001824013042993
    assert reference.ACGAN_ACCURACY == 0.825
    assert [reference.adaptation("svhn", "mnistm", name) for name in reference.METHODS] == [0.4891, 0.5799, 0.6228, 0.9758]
    assert [reference.adaptation("mnistm", "usps", name) for name in reference.METHODS] == [0.7549, 0.8819, 0.8834, 0.9671]
    assert [reference.adaptation("usps", "svhn", name) for name in reference.METHODS] == [0.2564, 0.3163, 0.4282, 0.8964]
    assert reference.adaptation("mnistm", "svhn", "dann") is reference.adaptation("svhn", "mnistm", "other") is None


def test_on_the_studys_data_each_of_its_figures_stands_beside_ours_with_the_difference(paper_study):
    found = table()
    both = {name: row.cells[2:5] for name, row in found.items() if row.theirs is not None}
    assert len(both) == 3 + 12 and all(row.ours is not None for row in found.values())
    assert both["StyleGAN2, FID, report protocol"] == ("28.16", "260.00 ± 14.14 (n = 2)", "+231.84")
    score = "StyleGAN2, Inception Score (torchvision's network), report protocol"
    assert both[score] == ("2.00", "2.50 (n = 2)", "+0.50")
    assert both["ACGAN, accuracy under the judge"] == ("82.50", "86.00 ± 1.41 (n = 2)", "+3.50")
    assert both["svhn-mnistm, DSN"] == ("62.28", "61.50 ± 0.71 (n = 2)", "-0.78")
    assert found["StyleGAN2, FID, report protocol"].cells[5] == "60.00"
    assert found["ACGAN, accuracy under the judge"].cells[5] == "97.00"


def test_other_measures_protocols_and_networks_have_no_reference(paper_study):
    found = table()
    for name in (
        "StyleGAN2, FID, clean protocol",
        "StyleGAN2, Inception Score on FID's network, report protocol",
        "StyleGAN2, Inception Score (torchvision's network), clean protocol",
        "StyleGAN2, fd on inception_torchvision, report protocol",
    ):
        assert found[name].theirs is None and found[name].cells[4] == "–" and found[name].ours["n"] == 2


def test_the_diversity_of_digits_stands_beside_that_of_real_ones(study):
    found = table()
    assert found["ACGAN, recall on judge, within a class"].cells[2:] == ("–", "51.00 ± 1.41 (n = 2)", "–", "90.00")
    assert found["ACGAN, precision on judge, within a class"].cells[5] == "80.00"
    assert found["ACGAN, fd on judge, within a class"].cells[3:] == ("120.00 (n = 2)", "–", "8.00")


def test_precision_recall_and_near_share_of_faces_are_percent(study):
    write_extras()
    summarise_with_a_blank_picture()
    found = table()
    assert found["StyleGAN2, precision on efficientnet_lite0, clean protocol"].cells[3:] == ("40.00 (n = 2)", "–", "70.00")
    near = found["StyleGAN2, near share on efficientnet_lite0, clean protocol"]
    assert near.cells[3:] == ("8.00 ± 0.71 (n = 2)", "–", "5.00") and near.lower
    small = found["StyleGAN2, near share of thumbnails, clean protocol"]
    assert small.cells[3:] == ("0.80 ± 0.07 (n = 2)", "–", "5.00") and small.lower


def test_fid_on_other_faces_stands_apart_from_the_studys(paper_study):
    change(faces="orl_faces")
    study, summary = Study(*params.read(*Study.KEYS)), read_json("metrics/summary.json")
    fids = [row for row in rows(study, summary) if row.name == "StyleGAN2, FID, report protocol"]
    assert [(row.data, row.theirs is None, row.ours is None) for row in fids] == [
        ("celeba", False, True),
        ("orl_faces (own folder)", True, False),
    ]


def test_on_packaged_data_both_have_dashes_for_what_the_other_has(study):
    found = table()
    assert found["StyleGAN2, FID, report protocol"].cells[2:5] == ("28.16", "–", "–")
    assert found["StyleGAN2, fd on efficientnet_lite0, report protocol"].cells[2:5] == ("–", "260.00 ± 14.14 (n = 2)", "–")
    assert found["syn-mnistm, DANN"].cells[1:5] == ("syn (packaged) → mnistm (packaged)", "–", "59.00 ± 1.41 (n = 2)", "–")
    assert found["usps-svhn, DSN"].cells[2:5] == ("42.82", "–", "–")


def test_a_pair_is_the_studys_by_its_data_sets_not_by_its_name(paper_study):
    study, summary = Study(*params.read(*Study.KEYS)), read_json("metrics/summary.json")
    study.pairs["a-b"] = study.pairs.pop("svhn-mnistm")
    summary["adaptation"]["a-b"] = summary["adaptation"].pop("svhn-mnistm")
    names = {row.name: row for row in rows(study, summary)}
    assert names["a-b, DANN"].theirs == 0.5799 and "svhn-mnistm, DANN" not in names


def test_a_method_that_we_left_out_keeps_the_studys_figure(paper_study):
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["adaptation"]["methods"] = ["dann"]
    Path("params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    summarise_with_a_blank_picture()
    assert table()["usps-svhn, DSN"].cells[2:5] == ("42.82", "–", "–")
    assert table()["usps-svhn, DANN"].ours is not None


def test_one_seed_has_no_spread():
    row = Row("x", "y", 0.5, {"mean": 0.25, "std": None, "n": 1}, percent=True)
    assert row.cells == ("x", "y", "50.00", "25.00 (n = 1)", "-25.00", "–")


def test_every_row_of_the_markdown_has_all_columns(paper_study):
    first, beside = Path("plots/summary.md").read_text().split("# Adaptation, beside the accuracy")
    for text, count, columns in ((first, len(table()), len(comparison.HEAD)), (beside, 12, 4)):
        lines = [line for line in text.splitlines() if line.startswith("|")]
        assert len(lines) == 2 + count and {line.count(" | ") for line in lines} == {columns - 1}


def test_the_domains_distance_and_every_rule_s_regret_stand_below_the_accuracies(study):
    write_regret("dann", 0, "confident_share", 0.125)
    write_regret("dann", 1, "confident_share", 0.125)
    write_regret("dsn", 0, "target_entropy", 0.25)
    summarise_with_a_blank_picture()
    text = Path("plots/summary.md").read_text()
    beside = text.split("# Adaptation, beside the accuracy\n\n")[1]
    assert beside.splitlines()[0] == "| pair | method | proxy A-distance | regret of last | regret of confident share |"
    last = "1.62 ± 0.18 (n = 2) | 0.50 ± 0.71 (n = 2)"
    assert f"| syn → mnistm | source only | {last} | – |" in beside
    assert f"| syn → mnistm | DANN | {last} | 12.50 (n = 2) |" in beside
    assert "how far the accuracy of the best snapshot lies above that of the\none that the rule takes" in beside
    assert "labels of the target test are used only to report it" in beside


def test_methods_and_rules_without_such_a_figure_are_left_out():
    accuracy, one = {"mean": 0.5, "std": None, "n": 1}, {"mean": 0.0125, "std": None, "n": 1}
    found = {"a-b": {"dann": {"accuracy": accuracy, "regret": {"last": one}}, "dsn": {"accuracy": accuracy}}}
    lines = [line for line in comparison.beside_accuracy(found).splitlines() if line.startswith("|")]
    assert lines[2:] == ["| a → b | DANN | – | 1.25 (n = 1) |"]
    assert comparison.beside_accuracy({"a-b": {"dsn": {"accuracy": accuracy}}}) == ""
    hostile = comparison.beside_accuracy({"a-b": {"dann": {"regret": {"<b>|": one}}}})
    assert r"regret of \<b\>\|" in hostile


def test_hostile_words_stay_words_in_markdown():
    text = "a|b <img src=x> [c](http://d) `e` *f* g_h \\ & ~i~\n# j"
    assert escape(text) == (r"a\|b \<img src=x\> \[c\](http://d) \`e\` \*f\* g\_h \\ \& \~i\~ \# j")
    line = markdown([Row(text, text, None, None)]).splitlines()[4]
    assert line.count(" | ") == 5 and "\n" not in line


def test_no_place_of_a_users_folder_is_in_the_table(paper_study):
    text = Path("plots/summary.md").read_text()
    assert "svhn (own folder)" in text and "/home" not in text


def test_packaged_mnistm_is_another_data_set_than_the_studys(study):
    found = rows(Study(*params.read(*Study.KEYS)), read_json("metrics/summary.json"))
    digits = [row for row in found if row.name == "ACGAN, accuracy under the judge"]
    assert [(row.data, row.theirs is None, row.ours is None) for row in digits] == [
        ("mnistm", False, True),
        ("mnistm (packaged)", True, False),
    ]


def test_a_claim_says_its_number_of_seeds_once_unless_they_differ():
    without, chance = ablation()
    said = comparison.ablation([[without, chance], [replace(without, n=2), chance]]).splitlines()[5:7]
    assert said[0] == "| mixing | Mixing styles helps | confirmed | fd: without 93.50 ± 1.50, with 81.25 ± 1.50 (n = 3) |"
    assert said[1].endswith("fd: without 93.50 ± 1.50 (n = 2), with 81.25 ± 1.50 (n = 3) |")
