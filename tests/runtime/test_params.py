from pathlib import Path

import pytest
import yaml

from stages.runtime import params
from stages.runtime.stage import UserError

ROOT = Path(__file__).resolve().parents[2]
EMPTY = object()
PRESETS = sorted((ROOT / "presets").glob("*.yaml"))


def keys(content: dict, prefix: str = "") -> set[str]:
    """All dotted keys; what stands below data.datasets and adaptation.pairs is a preset's own choice."""
    found = set()
    for name, value in content.items():
        key = f"{prefix}{name}"
        found.add(key)
        if isinstance(value, dict) and key not in ("data.datasets", "adaptation.pairs"):
            found |= keys(value, f"{key}.")
    return found


@pytest.fixture
def edited(tmp_path):
    """A function that writes the laptop preset with some dotted keys changed, and returns its path."""

    def write(**changes):
        content = yaml.safe_load((ROOT / "presets/laptop.yaml").read_text())
        for key, value in changes.items():
            *groups, last = key.split("__")
            place = content
            for group in groups:
                place = place[group]
            if value is None:
                del place[last]
            else:
                place[last] = None if value is EMPTY else value
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_is_valid_and_has_the_same_keys(path):
    params.load(path)
    laptop = yaml.safe_load((ROOT / "presets/laptop.yaml").read_text())
    assert keys(yaml.safe_load(path.read_text())) == keys(laptop)


def test_the_default_is_the_laptop_preset():
    assert (ROOT / "params.yaml").read_text() == (ROOT / "presets/laptop.yaml").read_text()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"judge__stepz": 1}, "judge.stepz: is not a known key"),
        ({"judge__steps": None}, "judge.steps: is missing"),
        ({"judge__steps": "many"}, "judge.steps: .*not 'many'"),
        ({"judge__steps": 1.5}, "judge.steps: .*not 1.5"),
        ({"judge__steps": True}, "judge.steps: .*not True"),
        ({"judge__steps": 0}, "judge.steps: .*not 0"),
        ({"judge__lr": float("nan")}, "judge.lr: .*not nan"),
        ({"judge__lr": float("inf")}, "judge.lr: .*not inf"),
        ({"judge__dataset": "celebA"}, "judge.dataset: .*celebA"),
        ({"judge__dataset": "celeba"}, "judge.dataset is celeba, which is not among data.datasets"),
        ({"stylegan2__seeds": []}, "stylegan2.seeds: "),
        ({"stylegan2__train__accumulation": 5}, r"stylegan2.train: batch_size \d+ can't be split into 5"),
        ({"stylegan2__seeds": [0, 1, 0]}, "stylegan2.seeds: names something twice"),
        ({"adaptation__methods": ["dann", "dann"]}, "adaptation.methods: names something twice"),
        ({"adaptation__pairs": {}}, "adaptation.pairs: "),
        ({"data__datasets__orl": EMPTY}, "data.datasets: orl is empty"),
        ({"adaptation__pairs__syn-mnistm__target": "orl"}, "adaptation.pairs.syn-mnistm.target is orl, which holds faces"),
        ({"embedding__perplexity": 1000.0}, "embedding: perplexity 1000.0 must be below the 1000 points"),
        ({"adaptation__methods": ["dan"]}, "adaptation.methods.0: .*'dan'"),
        ({"adaptation__pairs__syn-mnistm__target": "syn"}, "adaptation.pairs.syn-mnistm: source and target are both syn"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_its_key(edited, changes, words):
    with pytest.raises(UserError, match=words) as raised:
        params.load(edited(**changes))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "judge: [", "- 1", "judge: 1", "\x00", "judge: {steps: 1, steps: 2}", "? [a]\n: b"])
def test_what_is_no_params_file_is_refused(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(UserError):
        params.load(path)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="no valid YAML"):
        params.load(path)


def test_a_missing_file_says_how_to_restore_it(tmp_path):
    with pytest.raises(UserError, match="cp presets/laptop.yaml"):
        params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize("written", ["1e-05", "1.0e-05", "0.00001", "1E-5"])
def test_small_numbers_are_numbers_however_dvc_writes_them(edited, written):
    path = edited()
    text = path.read_text()
    assert "\njudge:\n" in text
    lines = text.split("\njudge:\n")
    lines[1] = lines[1].replace("  lr: 0.001\n", f"  lr: {written}\n", 1)
    path.write_text("\njudge:\n".join(lines))
    assert params.load(path).judge.lr == 1e-5


def test_read_gives_groups_and_single_values_and_names_what_is_unknown():
    train, cap = params.read("stylegan2.train", "adaptation.pairs.syn-mnistm.max_source", path=ROOT / "presets/laptop.yaml")
    assert train.steps > 0
    assert cap is None
    with pytest.raises(UserError, match="adaptation.pairs.mnistm-syn .*known: .*syn-mnistm"):
        params.read("adaptation.pairs.mnistm-syn", path=ROOT / "presets/laptop.yaml")
