"""The cards of the models, and that the lines which it and README show do what they say."""

import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from stages.adaptation.method import METHODS, named
from stages.data.catalog import DATASETS
from stages.evaluation.judge import Judge
from stages.generation import acgan, stylegan2
from stages.report import cards
from stages.runtime import params
from stages.runtime.errors import UserError
from stages.runtime.files import write_json
from stages.runtime.weights import save_weights

ROOT = Path(__file__).resolve().parents[2]
PAIR = "mnistm-mfeat"
GANS = {"stylegan2-0": (8, 3, 16, 16), "acgan-0": (10, 3, 32, 32)}
CLASSIFIERS = ["judge", *(f"{PAIR}-{method}-0" for method in METHODS)]
RUNS = [*GANS, *CLASSIFIERS]
FACES = {"fd": 120.123, "cs": 1.6, "precision": 0.25, "recall": 0.5, "n_fake": 40, "fd_floor": 24.0}


def networks(run: str) -> nn.Module:
    """What the run's weights file holds, as it begins."""
    if run == "judge":
        return Judge()
    if run.startswith("acgan"):
        parts = {"generator": acgan.Generator(), "average": acgan.Generator(), "discriminator": acgan.Discriminator()}
        return nn.ModuleDict(parts)
    if run.startswith("stylegan2"):
        form = params.load().stylegan2.network.model_dump(exclude={"minibatch_stddev"})
        parts = {"faces": stylegan2.StyleGAN2(16, **form), "average": stylegan2.StyleGAN2(16, **form)}
        return nn.ModuleDict(parts)
    return named(run.split("-")[2])()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the smoke preset, and weights and figures of all its runs; and the models."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("params.yaml").write_text((ROOT / "presets/smoke.yaml").read_text())
        return folder, {run: write_run(run) for run in RUNS}


@pytest.fixture
def work(trained, tmp_path, monkeypatch):
    """A copy of that folder."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(trained[0], tmp_path, dirs_exist_ok=True))


@pytest.fixture
def models(trained):
    return trained[1]


def write_run(run: str) -> nn.Module:
    """Weights and figures of a run."""
    torch.manual_seed(0)
    model = networks(run)
    save_weights(f"models/{run}/weights.safetensors", model.state_dict())
    write_json(f"results/{run}/evaluation-efficientnet_lite0.json", {"protocols": {"clean": FACES}})
    figures = {"accuracy": 0.637, "source_validation_accuracy": 0.9, "test_accuracy": 0.9711}
    figures |= {"judge_accuracy": 0.939, "judge_test_accuracy": 0.9711, "proxy_a_distance": 1.9474}
    diversity = {"extractor": "judge", "recall": 0.556, "recall_ceiling": 0.878, "precision": 0.788}
    write_json(f"results/{run}/evaluation.json", figures | {"diversity": diversity})
    return model


def written() -> dict[str, str]:
    """The cards' texts by run."""
    cards.main()
    return {path.stem: path.read_text(encoding="utf-8") for path in Path("report/cards").iterdir()}


def python_in(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run_lines(code: str) -> dict:
    names: dict = {}
    exec(compile(code, "the lines shown", "exec"), names)
    return names


def test_every_run_has_a_card(work):
    assert written().keys() == set(RUNS)


def test_the_lines_of_a_card_load_the_weights(work, models):
    for run, text in written().items():
        [code] = python_in(text)
        done, model = run_lines(code), models[run]
        tensors = model.state_dict() if run in CLASSIFIERS else model["average"].state_dict()
        loaded = done["network"].state_dict()
        assert loaded.keys() == tensors.keys() and all(torch.equal(loaded[name], tensors[name]) for name in tensors)
        if run in GANS:
            low = -1 if run.startswith("acgan") else 0
            assert done["images"].shape == GANS[run]
            assert low <= done["images"].min() and done["images"].max() <= 1
        else:
            assert done["logits"].shape == (1, 10)


def test_the_lines_of_the_readme_run(work):
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Use the trained models\n")[1].split("\n## ")[0]
    [code] = python_in(section)
    images, shape = run_lines(code)["images"], re.search(r"# \(([\d, ]+)\) in \[-1, 1\]", code)[1]
    assert images.shape == tuple(map(int, shape.split(","))) and images.abs().max() <= 1


def test_parameters_are_counted_without_running_statistics(work, models):
    for run, text in written().items():
        counts = cards.parameters(run)
        assert sum(counts.values()) == sum(weights.numel() for weights in models[run].parameters())
        assert all(f"{part} {count:,}" in text for part, count in counts.items())


def test_a_card_names_data_licence_settings_and_limits(work):
    learnt = {"stylegan2-0": ["orl"], f"{PAIR}-dann-0": ["mnistm", "mfeat"], f"{PAIR}-target_only-0": ["mfeat"]}
    for run, text in written().items():
        for name in learnt.get(run, ["mnistm"]):
            entry = DATASETS[name]
            assert f"{name} (packaged), {entry.title}" in text
            assert all(said in text for said in (entry.licence, entry.citation, entry.publisher))
        [settings] = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        assert yaml.safe_load(settings)["training"] == params.load().training.model_dump()
        assert "For study and teaching" in text


def test_what_the_settings_say_is_what_the_params_say(work):
    used, texts = params.load(), written()
    assert str(used.acgan.train.lr_generator) in texts["acgan-0"]
    [settings] = re.findall(r"^```yaml\n(.*?)^```$", texts[f"{PAIR}-dsn-0"], re.MULTILINE | re.DOTALL)
    content = yaml.safe_load(settings)
    assert content["dsn"] == used.adaptation.dsn.model_dump() and content["common"] == used.adaptation.common.model_dump()


def test_figures_are_the_run_s_own(work):
    texts = written()
    assert "fd on efficientnet_lite0, 40 samples without truncation: 120.123" in texts["stylegan2-0"]
    assert "FID" not in texts["stylegan2-0"]
    digits, classifier = texts["acgan-0"], texts[f"{PAIR}-dann-0"]
    assert "sees the digit asked for: 93.90 %" in digits
    assert "in the judge's features: 55.60 %" in digits and "digits in their place: 87.80 %" in digits
    assert "real test digits: 97.11 %" in texts["judge"]
    assert "test images of mfeat: 63.70 %" in classifier and "to 2, always told apart: 1.95\n" in classifier


def test_a_card_says_how_its_samples_were_truncated(work):
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["stylegan2"]["sample"]["clean"]["psi"] = 0.7
    Path("params.yaml").write_text(yaml.safe_dump(content))
    assert "fd on efficientnet_lite0, 40 samples truncated by psi 0.7: 120.123" in written()["stylegan2-0"]


def test_a_distance_that_nobody_knows_is_left_out_of_the_card(work):
    path = Path(f"results/{PAIR}-dann-0/evaluation.json")
    path.write_text(path.read_text().replace("1.9474", "null"))
    text = written()[f"{PAIR}-dann-0"]
    assert "proxy" not in text and "63.70 %" in text


def test_a_card_is_the_same_every_time_and_everywhere(work, tmp_path_factory, monkeypatch):
    first = written()
    assert written() == first and not any(str(work) in text for text in first.values())
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(work, elsewhere, dirs_exist_ok=True)
    monkeypatch.chdir(elsewhere)
    assert written() == first


def test_own_images_are_named_but_not_where_they_are(work):
    text = Path("params.yaml").read_text().replace("folders: {}", "folders: {mine: /home/me/secret}")
    Path("params.yaml").write_text(text.replace("  dataset: orl", "  dataset: mine"))
    shown = written()["stylegan2-0"]
    assert "mine, images of the user's own" in shown and "secret" not in shown


@pytest.mark.parametrize("how", ["missing", "text", "cut", "a folder"])
def test_missing_and_damaged_weights_are_named(how, work):
    path = Path("models/judge/weights.safetensors")
    content = path.read_bytes()
    path.unlink()
    if how == "a folder":
        path.mkdir()
    elif how != "missing":
        path.write_bytes(content[:1000] if how == "cut" else b"not this")
    said = {"missing": "is missing", "a folder": "can't be read: is a directory"}.get(how, "is no readable safetensors file")
    with pytest.raises(UserError, match=f"^{path} {said}"):
        cards.main()
    assert not Path("report/cards/judge.md").exists()


@pytest.mark.parametrize("content", ["[]", "{}", '{"accuracy": "much"}', '{"accuracy": NaN}', "{"])
def test_figures_of_another_form_are_named(content, work):
    run = f"{PAIR}-dann-0"
    Path(f"results/{run}/evaluation.json").write_text(content)
    with pytest.raises(UserError, match=f"^results/{run}/evaluation.json "):
        cards.main()
