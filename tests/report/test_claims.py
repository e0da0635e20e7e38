"""ablation.yaml: read strictly, its settings valid params, the same settings the same experiment."""

from pathlib import Path

import pytest
import yaml

from stages.report import claims, experiments
from stages.runtime.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
LAPTOP = ROOT / "presets/laptop.yaml"
SETTINGS = {"without": "acgan.train.lr_decay=0.0", "with": ""}


@pytest.fixture
def file(tmp_path):
    """Writes ablation.yaml with one claim whose keys are changed; returns its path."""

    def write(part: dict | None = None, **claim) -> Path:
        content = {"overrides": "acgan.seeds=[0,1]", "figure": "acgan.judge_accuracy", "better": "higher"}
        content["claims"] = {"decay": {"claim": "Decay helps", "settings": SETTINGS} | claim}
        (tmp_path / "ablation.yaml").write_text(yaml.safe_dump({"acgan": content | (part or {})}, sort_keys=False))
        return tmp_path / "ablation.yaml"

    return write


def test_a_setting_has_its_part_s_overrides_before_its_own(file):
    [claim] = claims.read(file())
    assert (claim.name, claim.words, claim.better) == ("decay", "Decay helps", "higher")
    assert [setting.name for setting in claim.settings] == ["without", "with"]
    assert claim.settings[0].overrides == ("acgan.seeds=[0,1]", "acgan.train.lr_decay=0.0")
    assert claim.settings[1].overrides == ("acgan.seeds=[0,1]",)


def test_a_claim_s_own_figure_and_direction_come_before_its_part_s(file):
    [claim] = claims.read(file(figure="adaptation.a-b.SETTING.accuracy", better="lower"))
    assert claim.better == "lower"
    assert [setting.figure for setting in claim.settings] == ["adaptation.a-b.without.accuracy", "adaptation.a-b.with.accuracy"]


@pytest.mark.parametrize(
    ("part", "claim", "words"),
    [
        ({}, {"settings": {"alone": ""}}, "acgan.claims.decay.settings: Dictionary should have at least 2 items"),
        ({}, {"settings": {"a b": "", "c": ""}}, "is 'a b'; a name is letters, digits, - and _"),
        ({}, {"settings": {"a": 1, "b": ""}}, "acgan.claims.decay.settings.a: Input should be a valid string"),
        ({}, {"figures": "x"}, "acgan.claims.decay.figures: Extra inputs are not permitted"),
        ({}, {"better": "more"}, "acgan.claims.decay.better: Input should be 'higher' or 'lower'"),
        ({"better": None}, {}, "acgan.better: Input should be 'higher' or 'lower'"),
        ({"claims": {}}, {}, "acgan.claims: Dictionary should have at least 1 item"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_its_place(file, part, claim, words):
    path = file(part, **claim)
    with pytest.raises(UserError) as raised:
        claims.read(path)
    assert str(raised.value).startswith(f"{path}: acgan.") and words in str(raised.value)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("text", ["a: [", "a: 1\na: 2\n", "\xff"])
def test_what_is_no_yaml_is_one_line(tmp_path, text):
    (tmp_path / "ablation.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"ablation.yaml is no valid YAML: .") as raised:
        claims.read(tmp_path / "ablation.yaml")
    assert str(raised.value).isprintable()


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(UserError, match="ablation.yaml is missing"):
        claims.read(tmp_path / "ablation.yaml")


def test_two_claims_of_one_name_are_refused(file):
    path = file()
    part = yaml.safe_load(path.read_text())["acgan"]
    path.write_text(yaml.safe_dump({"acgan": part, "again": part}))
    with pytest.raises(UserError, match="two claims are called decay"):
        claims.read(path)


def test_only_names_claims(file):
    known = claims.read(file())
    assert claims.chosen(known, "") == claims.chosen(known, " decay ") == known
    with pytest.raises(UserError, match="ONLY names 'decoy'; did you mean 'decay'"):
        claims.chosen(known, "decay decoy")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("acgan.train.lr_dekay=0.1", "Could not override 'acgan.train.lr_dekay'."),
        ("acgan.train.lr_decay=2.0", "acgan.train.lr_decay: is 2.0; must be at most 1"),
        ("acgan.train.lr_decay=[", "no viable alternative"),
        ("acgan.train.lr_decay", "Error parsing override 'acgan.train.lr_decay'"),
        ("acgan.train.lr_decay=0.1,0.2", "Error merging override"),
        ("~adaptation.pairs.a-b", "'adaptation.pairs.a-b' does not exist"),
    ],
)
def test_a_wrong_override_is_one_line(override, words):
    with pytest.raises(UserError) as raised:
        claims.effective([override], LAPTOP)
    assert words in str(raised.value) and str(raised.value).isprintable()


def test_a_pair_can_be_left_out():
    settings = claims.effective(["~adaptation.pairs.mfeat-syn", "acgan.train.lr_decay=1e-5"], LAPTOP)
    assert list(settings.adaptation.pairs) == ["syn-mnistm", "mnistm-mfeat"]
    assert settings.acgan.train.lr_decay == 1e-5


def test_the_same_params_are_the_same_experiment_until_code_or_params_change():
    decay = claims.effective(["acgan.train.lr_decay=0.0", "acgan.seeds=[1]"], LAPTOP)
    again = claims.effective(["acgan.seeds=[1]", "acgan.train.lr_decay=0"], LAPTOP)
    other = claims.effective(["acgan.seeds=[1]"], LAPTOP)
    assert claims.identity(decay, "code") == claims.identity(again, "code")
    assert len({claims.identity(decay, "code"), claims.identity(other, "code"), claims.identity(decay, "other")}) == 3


@pytest.mark.parametrize("figure", ["adaptation.syn-mnistm.dsn.accuracy", "adaptation.mfeat-syn.dann.accuracy", "acgan.judge"])
def test_a_figure_that_a_run_will_not_have_is_refused(figure):
    settings = claims.effective(["~adaptation.pairs.mfeat-syn", "adaptation.methods=[dann]"], LAPTOP)
    present = ["acgan.judge_accuracy", "adaptation.mfeat-syn.dann.accuracy"]
    claims.check_figure("acgan.judge_accuracy", settings, present)
    claims.check_figure("adaptation.syn-mnistm.target_only.accuracy", settings, present)
    with pytest.raises(UserError, match="^figure '"):
        claims.check_figure(figure, settings, present)


def test_accuracy_on_the_images_for_tuning_is_there_where_the_params_hold_some_out():
    figure = "adaptation.syn-mnistm.dann.oracle_dev_accuracy"
    claims.check_figure(figure, claims.effective(["adaptation.images.oracle_dev=1000"], LAPTOP), [])
    with pytest.raises(UserError, match="^figure '"):
        claims.check_figure(figure, claims.effective([], LAPTOP), [])


def test_the_claims_of_this_repository_can_be_run_on_its_params_and_their_settings_differ(monkeypatch):
    monkeypatch.chdir(ROOT)
    figures = experiments.figures(None)
    found = claims.read()
    assert len(found) > 15
    for claim in found:
        settings = {setting: claims.effective(setting.overrides) for setting in claim.settings}
        for setting, effective in settings.items():
            claims.check_figure(setting.figure, effective, figures)
        differing = {(claims.identity(effective, ""), setting.figure) for setting, effective in settings.items()}
        assert len(differing) == len(claim.settings), claim.name


@pytest.mark.parametrize("name", ["dann-source-size", "dsn-source-size"])
def test_a_quarter_one_and_four_source_images_are_learnt_from_for_each_of_the_target(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    [claim] = claims.chosen(claims.read(), name)
    for setting, expected in zip(claim.settings, (1 / 4, 1, 4), strict=True):
        adaptation = claims.effective(setting.overrides).adaptation
        pair = adaptation.pairs["syn-mnistm"]
        assert pair.max_source * (1 - adaptation.images.validation) == expected * pair.max_target
