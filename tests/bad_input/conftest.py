"""Every stage with what it reads, and a folder in which all of that is whole, for a test to damage."""

import hashlib
import importlib
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import yaml

from stages.runtime.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
PAIR = "mnistm-mfeat"
ORL, MNISTM, MFEAT = (f"data/prepared/{name}.npz" for name in ("orl", "mnistm", "mfeat"))
TRAIN, TARGET, TEST = (f"data/pairs/{PAIR}/{name}.npz" for name in ("train", "target", "test"))
EXTRACTOR = "efficientnet_lite0"


class Stage(NamedTuple):
    """A stage's module and words, the arrays that it reads by file, and the other files that it reads."""

    module: str
    words: tuple = ()
    arrays: dict[str, tuple[str, ...]] = {}
    weights: tuple[str, ...] = ()
    figures: dict[str, str] = {}


SPLIT = ("train_images", "train_labels")
BOTH = (*SPLIT, "test_images", "test_labels")
SOURCE = ("source_images", "source_labels")
JUDGE, ACGAN, FACES = (f"models/{run}/weights.safetensors" for run in ("judge", "acgan-0", "stylegan2-0"))

STAGES = {
    "pair": Stage("data.pair", (PAIR,), {MNISTM: BOTH, MFEAT: BOTH}),
    "train_stylegan2": Stage("generation.train_stylegan2", (0,), {ORL: ("train_images",)}),
    "sample_stylegan2": Stage("generation.sample_stylegan2", (0,), weights=(FACES,)),
    "statistics": Stage("evaluation.statistics", (EXTRACTOR,), {ORL: ("train_images", "test_images")}),
    "evaluate_stylegan2": Stage(
        "evaluation.evaluate_stylegan2",
        (0, EXTRACTOR),
        {"samples/stylegan2-0.npz": ("report_images", "clean_images", "untrained_images")},
    ),
    "train_judge": Stage("evaluation.train_judge", (), {MNISTM: BOTH}),
    "train_acgan": Stage("generation.train_acgan", (0,), {MNISTM: SPLIT}),
    "sample_acgan": Stage("generation.sample_acgan", (0,), weights=(ACGAN,)),
    "evaluate_acgan": Stage(
        "evaluation.evaluate_acgan",
        (0,),
        {"samples/acgan-0.npz": ("images", "labels"), MNISTM: BOTH},
        (JUDGE,),
        {"results/judge/evaluation.json": "test_accuracy"},
    ),
    "adapt source_only": Stage("adaptation.train", (PAIR, "source_only", 0), {TRAIN: SOURCE}),
    "adapt dann": Stage("adaptation.train", (PAIR, "dann", 0), {TRAIN: (*SOURCE, "target_images")}),
    "adapt dsn": Stage("adaptation.train", (PAIR, "dsn", 0), {TRAIN: (*SOURCE, "target_images")}),
    "adapt mean_teacher": Stage("adaptation.train", (PAIR, "mean_teacher", 0), {TRAIN: (*SOURCE, "target_images")}),
    "adapt target_only": Stage("adaptation.train", (PAIR, "target_only", 0), {TARGET: SPLIT}),
    "evaluate dann": Stage(
        "adaptation.evaluate",
        (PAIR, "dann", 0),
        {TEST: ("test_images", "test_labels"), TRAIN: ("validation_images", "validation_labels", "target_images")},
        (f"models/{PAIR}-dann-0/weights.safetensors", f"models/{PAIR}-dann-0/snapshots/000002.safetensors"),
    ),
    "embed dann": Stage(
        "adaptation.embed",
        (PAIR, "dann"),
        {TEST: ("test_images", "test_labels", "source_test_images", "source_test_labels")},
        (f"models/{PAIR}-dann-0/weights.safetensors",),
    ),
    "sample new faces": Stage("generation.sample", ("stylegan2-0",), weights=(FACES,)),
    "sample new digits": Stage("generation.sample", ("acgan-0",), weights=(ACGAN,)),
}
# In which order they make what the later ones read.
ORDER = ["pair", "train_stylegan2", "sample_stylegan2", "statistics", "train_judge", "train_acgan", "sample_acgan", "adapt dann"]


def digits(count: int, side: int = 28, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(count, dtype=np.int64) % classes
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3)).astype(np.uint8), labels


def write_prepared(name: str, train: int, test: int, **form: int) -> None:
    arrays = {}
    for split, count in (("train", train), ("test", test)):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = digits(count, **form)
    Path("data/prepared").mkdir(parents=True, exist_ok=True)
    np.savez(f"data/prepared/{name}.npz", **arrays)


def tiny_params() -> dict:
    content = yaml.safe_load((ROOT / "presets/smoke.yaml").read_text())
    content["stylegan2"]["train"] |= {"steps": 2, "snapshots": 1, "batch_size": 4, "accumulation": 1}
    content["stylegan2"]["sample"] |= {"report": {"count": 8, "psi": 0.75}, "clean": {"count": 8, "psi": 1.0}}
    content["acgan"]["train"] |= {"steps": 2, "snapshots": 1}
    content["acgan"]["sample"]["per_class"] = 4
    content["judge"]["steps"] = 2
    adaptation = content["adaptation"]
    adaptation["pairs"][PAIR] |= {"max_source": None, "max_target": None}
    adaptation["common"] |= {"batch_size": 4, "snapshots": 1, "precision": "fp32"}
    for method in ("source_only", "target_only", "dann", "dsn", "mean_teacher"):
        adaptation[method]["steps"] = 2
    adaptation["dann"]["lambda_steps"] = 2
    adaptation["dsn"] |= {"lambda_steps": 2, "similarity_start": 1}
    content["embedding"] |= {"points": 40, "perplexity": 5.0}
    return content


def write_extractor() -> None:
    from efficientnet_lite_pytorch import EfficientNet

    folder = Path("data/raw") / EXTRACTOR
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(EfficientNet.from_name("efficientnet-lite0").state_dict(), folder / "net.pth")


def call(name: str) -> None:
    stage = STAGES[name]
    importlib.import_module(f"stages.{stage.module}").main(*stage.words)


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """A folder with everything that each stage reads, made by the stages themselves from made-up images."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("params.yaml").write_text(yaml.safe_dump(tiny_params()))
        write_prepared("orl", 24, 12, side=16)
        write_prepared("mnistm", 60, 40)
        write_prepared("mfeat", 60, 40)
        write_extractor()
        for name in ORDER:
            call(name)
    return folder


@pytest.fixture
def project(made, tmp_path, monkeypatch) -> Path:
    """A copy of that folder for one test to damage; it is the current folder."""
    # The extractor's weights are large: the same file under another name, which a test replaces and never writes to.
    folder = Path(shutil.copytree(made, tmp_path / "project", copy_function=_copy))
    monkeypatch.chdir(folder)
    return folder


def _copy(source: str, target: str) -> None:
    (os.link if source.endswith(".pth") else shutil.copy)(source, target)


def tree() -> dict[str, str]:
    """Every file below the current folder and the hash of its content; folders too."""
    paths = sorted(Path().rglob("*"))
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder" for path in paths}


def assert_refused(name: str, file: str, *words: str) -> str:
    """Call the stage; the message of the UserError that it must end in, having changed nothing."""
    before = tree()
    with pytest.raises(UserError) as raised:
        call(name)
    message = " ".join(str(raised.value).split())
    assert file in message, message
    assert all(word in message for word in words), message
    assert len(message) < 500, message
    assert tree() == before
    return message
