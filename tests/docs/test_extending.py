"""The examples of README.md, applied as they stand there to a copy of the repository, and run."""

import csv
import json
import math
import re

import numpy as np
import pytest
import yaml

from tests.pipeline.clone import ROOT, Clone

SECTION = r"^<details><summary>{title}: [^\n]*</summary>\n(.*?)^</details>$"
BLOCK = re.compile(r"^\*\*`([^`]+)`\*\*([^\n]*)\n\n```(python|diff)\n(.*?)^```$", re.M | re.S)
SCHEMA = {"stages/runtime/schema.py", "stages/runtime/datasets.py"}
README = (ROOT / "README.md").read_text()
METHOD, DATASET, EXTRACTOR = "A method", "A dataset", "An extractor"
EXAMPLES = (METHOD, DATASET, EXTRACTOR)
PAIR = "mnistm-mfeat"


def blocks(title: str) -> list[tuple[str, str, str, str]]:
    """File, the rest of the line that names it, kind and text of each block of an example."""
    [section] = re.findall(SECTION.format(title=title), README, re.M | re.S)
    found = BLOCK.findall(section)
    assert len(found) == section.count("\n```") / 2, "a block without the file that it belongs to"
    return found


def extend(clone: Clone, title: str) -> set[str]:
    """Do to the clone what an example says; returns the files that this touches."""
    for file, rest, kind, text in blocks(title):
        if kind == "python":
            assert not (clone.folder / file).exists()
            (clone.folder / file).write_text(text)
            continue
        assert text.startswith(f"--- a/{file}\n+++ b/{file}\n")
        presets = [path for name in re.findall(r"`(presets/\S+)`", rest) for path in sorted(ROOT.glob(name))]
        for name in [file, *(f"presets/{preset.name}" for preset in presets)]:
            patch = clone.folder / ".timings/patch"
            patch.parent.mkdir(exist_ok=True)
            patch.write_text(text.replace(file, name))
            clone.run("git", "apply", str(patch))
    changed = clone.run("git", "status", "--porcelain", "--untracked-files=all").stdout.splitlines()
    return {line[3:] for line in changed}


def said_to_be_touched(title: str) -> set[str]:
    """The files that the table above the examples names."""
    [row] = re.findall(rf"^\| {title.split()[1]} (\| .*stages/.*)$", README, re.M)
    names = re.findall(r"`([^`]+)`", row)
    return {path.relative_to(ROOT).as_posix() for name in names for path in ROOT.glob(name)} | set(names) - {"presets/*.yaml"}


def passed(clone: Clone, files: str, words: str) -> int:
    """How many of the clone's own tests of that name pass; none may fail."""
    done = clone.run("python", "-m", "pytest", "-q", *files.split(), "-k", words)
    return int(re.search(r"(\d+) passed", done.stdout).group(1))


@pytest.fixture
def clone(tmp_path) -> Clone:
    return Clone(tmp_path)


@pytest.mark.parametrize("title", EXAMPLES)
def test_an_example_is_two_files_at_most_and_the_params_and_all_is_valid_then(clone, title):
    touched = extend(clone, title)
    params = {name for name in touched if name == "params.yaml" or name.startswith("presets/")}
    code = touched - params - SCHEMA
    assert params and 1 <= len(code) <= 2 and len(touched & SCHEMA) == 1
    assert touched == said_to_be_touched(title)
    assert "is valid" in clone.run("python", "-m", "stages.runtime.params").stdout
    clone.run("ruff", "check", ".")
    clone.run("ruff", "format", "--check", ".")


def test_the_method_is_to_run_in_the_preset_that_params_equal(clone):
    extend(clone, METHOD)
    for name in ("params.yaml", "presets/laptop.yaml"):
        assert "coral" in yaml.safe_load((clone.folder / name).read_text())["adaptation"]["methods"]


def test_the_examples_go_together(clone):
    for title in EXAMPLES:
        extend(clone, title)
    assert "is valid" in clone.run("python", "-m", "stages.runtime.params").stdout


@pytest.mark.slow
def test_the_method_trains_is_scored_and_embedded_and_passes_the_tests_of_all_methods(clone):
    extend(clone, METHOD)
    clone.change("  coral:\n    steps: 1500\n", "  coral:\n    steps: 20\n")
    (clone.folder / "presets/smoke.yaml").write_text((clone.folder / "params.yaml").read_text())
    run = f"{PAIR}-coral-0"
    ran = clone.repro(f"evaluate_adaptation@{run}", f"embed@{PAIR}-coral")
    assert {f"adapt@{run}", f"evaluate_adaptation@{run}", f"embed@{PAIR}-coral"} <= ran
    with (clone.folder / f"results/{run}/history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert len(history) == 20 and all(math.isfinite(float(row["coral_loss"])) for row in history)
    assert 0 <= json.loads((clone.folder / f"results/{run}/evaluation.json").read_text())["accuracy"] <= 1
    assert passed(clone, "tests/adaptation", "coral and not parallel") >= 8
    # dvc.yaml's lists, and the presets.
    assert passed(clone, "tests/pipeline/test_graph.py", "coral or no_code") >= 8
    assert passed(clone, "tests/runtime/test_params.py", "every_preset_is_valid") >= 3


@pytest.mark.slow
def test_the_distance_of_the_method_is_that_of_its_equation(clone):
    extend(clone, METHOD)
    code = """
import numpy as np, torch
from stages.adaptation.methods.coral import covariance_distance
source, target = np.random.default_rng(0).normal(size=(2, 9, 4)) * [[[1.0]], [[3.0]]]
frobenius = np.linalg.norm(np.cov(source, rowvar=False) - np.cov(target, rowvar=False))
ours = covariance_distance(torch.tensor(source), torch.tensor(target)).item()
print(ours, frobenius**2 / (4 * 4**2))
"""
    ours, expected = map(float, clone.run("python", "-c", code).stdout.split())
    assert ours == pytest.approx(expected, rel=1e-9) and ours > 0.1


@pytest.mark.slow
def test_the_dataset_is_fetched_prepared_and_paired(clone):
    extend(clone, DATASET)
    clone.change(f"    {PAIR}:\n      source: mnistm\n", "    optdigits-mfeat:\n      source: optdigits\n")
    ran = clone.repro("pair@optdigits-mfeat")
    assert {"fetch@optdigits", "prepare@optdigits", "pair@optdigits-mfeat"} <= ran
    from sklearn.datasets import load_digits

    known = load_digits()
    with np.load(clone.folder / "data/prepared/optdigits.npz") as prepared:
        assert prepared["train_images"].shape == (1437, 28, 28, 3) and prepared["test_images"].shape == (360, 28, 28, 3)
        labels = np.concatenate([prepared["train_labels"], prepared["test_labels"]])
        images = np.concatenate([prepared["train_images"], prepared["test_images"]])
    assert np.array_equal(labels, known.target)
    # Enlarged digits are as bright as the original ones.
    brightness = images.mean(axis=(1, 2, 3)) / 255, known.images.mean(axis=(1, 2)) / 16
    assert np.corrcoef(*brightness)[0, 1] > 0.99
    assert passed(clone, "tests/data/test_catalog.py", "catalog") >= 8


@pytest.mark.slow
def test_the_extractor_is_fetched_and_scores_faces_under_names_that_are_no_fid(clone):
    extend(clone, EXTRACTOR)
    clone.repro("evaluate_stylegan2@0-efficientnet_lite1")
    scores = json.loads((clone.folder / "results/stylegan2-0/evaluation-efficientnet_lite1.json").read_text())
    for figures in (scores["protocols"][protocol] for protocol in ("report", "clean")):
        assert figures["fd"] > figures["fd_floor"] > 0 and figures["cs"] >= 1 and figures["resize"] == "bilinear 240"
        assert not {"fid", "is"} & set(figures)
    assert passed(clone, "tests/data/test_catalog.py tests/evaluation/test_inception.py", "names or params_know") >= 2
