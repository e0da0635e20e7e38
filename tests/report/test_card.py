"""The card beside a model's weights, and that the lines which it and README show do what they say."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from stages.adaptation.method import METHODS, named
from stages.data.catalog import DATASETS
from stages.evaluation.judge import Judge
from stages.generation import acgan, stylegan2
from stages.report import card
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


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder with the smoke preset."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text((ROOT / "presets/smoke.yaml").read_text())
    return tmp_path


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


def written(run: str) -> str:
    card.main(run)
    return Path(f"models/{run}/README.md").read_text(encoding="utf-8")


def python_in(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run_lines(code: str) -> dict:
    names: dict = {}
    exec(compile(code, "the lines shown", "exec"), names)
    return names


@pytest.mark.parametrize("run", RUNS)
def test_the_lines_of_a_card_load_the_weights(run, work):
    model = write_run(run)
    [code] = python_in(written(run))
    done = run_lines(code)
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
    [run] = re.findall(r"models/([\w-]+)/weights", code)
    write_run(run)
    images, shape = run_lines(code)["images"], re.search(r"# \(([\d, ]+)\) in \[-1, 1\]", code)[1]
    assert images.shape == tuple(map(int, shape.split(","))) and images.abs().max() <= 1


@pytest.mark.parametrize("run", RUNS)
def test_parameters_are_counted_without_running_statistics(run, work):
    model = write_run(run)
    counts = card.parameters(Path(f"models/{run}/weights.safetensors"))
    assert sum(counts.values()) == sum(weights.numel() for weights in model.parameters())
    assert all(f"{part} {count:,}" in written(run) for part, count in counts.items())


@pytest.mark.parametrize("run", RUNS)
def test_a_card_names_data_licence_settings_and_limits(run, work):
    write_run(run)
    text = written(run)
    learnt = {"stylegan2-0": ["orl"], f"{PAIR}-dann-0": ["mnistm", "mfeat"], f"{PAIR}-target_only-0": ["mfeat"]}
    for name in learnt.get(run, ["mnistm"]):
        entry = DATASETS[name]
        assert f"{name} (packaged), {entry.title}" in text
        assert all(said in text for said in (entry.licence, entry.citation, entry.publisher))
    [settings] = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert yaml.safe_load(settings)["training"] == params.load().training.model_dump()
    assert "For study and teaching" in text


def test_what_the_settings_say_is_what_the_params_say(work):
    for run in ("acgan-0", f"{PAIR}-dsn-0"):
        write_run(run)
    used = params.load()
    assert str(used.acgan.train.lr_generator) in written("acgan-0")
    [settings] = re.findall(r"^```yaml\n(.*?)^```$", written(f"{PAIR}-dsn-0"), re.MULTILINE | re.DOTALL)
    content = yaml.safe_load(settings)
    assert content["dsn"] == used.adaptation.dsn.model_dump() and content["common"] == used.adaptation.common.model_dump()


def test_figures_are_the_run_s_own(work):
    for run in RUNS:
        write_run(run)
    assert "fd on efficientnet_lite0, 40 samples without truncation: 120.123" in written("stylegan2-0")
    assert "FID" not in written("stylegan2-0")
    assert "sees the digit asked for: 93.90 %" in written("acgan-0")
    assert "in the judge's features: 55.60 %" in written("acgan-0") and "digits in their place: 87.80 %" in written("acgan-0")
    assert "real test digits: 97.11 %" in written("judge")
    classifier = written(f"{PAIR}-dann-0")
    assert "test images of mfeat: 63.70 %" in classifier and "to 2, always told apart: 1.95\n" in classifier


def test_a_distance_that_nobody_knows_is_left_out_of_the_card(work):
    run = f"{PAIR}-dann-0"
    write_run(run)
    path = Path(f"results/{run}/evaluation.json")
    path.write_text(path.read_text().replace("1.9474", "null"))
    assert "proxy" not in written(run) and "63.70 %" in written(run)


@pytest.mark.parametrize("run", RUNS)
def test_a_card_is_the_same_every_time_and_everywhere(run, work, tmp_path_factory, monkeypatch):
    write_run(run)
    first = written(run)
    assert written(run) == first and str(work) not in first
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    Path("params.yaml").write_text((ROOT / "presets/smoke.yaml").read_text())
    write_run(run)
    assert written(run) == first


def test_own_images_are_named_but_not_where_they_are(work):
    text = Path("params.yaml").read_text().replace("folders: {}", "folders: {mine: /home/me/secret}")
    Path("params.yaml").write_text(text.replace("  dataset: orl", "  dataset: mine"))
    write_run("stylegan2-0")
    shown = written("stylegan2-0")
    assert "mine, images of the user's own" in shown and "secret" not in shown


@pytest.mark.parametrize("run", ["acgan", "../judge", "acgan-0/..", "mnistm-dann-0"])
def test_what_is_no_run_is_refused(run, work):
    with pytest.raises(UserError, match="is no run: stylegan2-SEED"):
        card.main(run)


@pytest.mark.parametrize("how", ["missing", "text", "cut", "a folder"])
def test_missing_and_damaged_weights_are_named(how, work):
    write_run("judge")
    path = Path("models/judge/weights.safetensors")
    content = path.read_bytes()
    path.unlink()
    if how == "a folder":
        path.mkdir()
    elif how != "missing":
        path.write_bytes(content[:1000] if how == "cut" else b"not this")
    with pytest.raises(UserError, match=f"^{path} "):
        card.main("judge")
    assert not path.with_name("README.md").exists()


@pytest.mark.parametrize("content", ["[]", "{}", '{"accuracy": "much"}', '{"accuracy": NaN}', "{"])
def test_figures_of_another_form_are_named(content, work):
    run = f"{PAIR}-dann-0"
    write_run(run)
    Path(f"results/{run}/evaluation.json").write_text(content)
    with pytest.raises(UserError, match=f"^results/{run}/evaluation.json "):
        card.main(run)
