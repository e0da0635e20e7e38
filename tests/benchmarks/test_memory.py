"""Every part whose memory is watched finds what it reads, and leaves what it makes."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from benchmarks import memory
from stages.runtime.files import read_json
from stages.runtime.images import load_digits

SIZE = 100_000_000


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def work_on(part: str, count: int) -> tuple[object, list[str]]:
    """What the watched work returns, and the array files that it leaves."""
    _, prepare, work = memory.PARTS[part]
    before, found = [], []

    def watched(images: int) -> None:
        before.extend(Path().rglob("*.npz"))
        found.append(work(images))

    memory.peak_of(prepare, watched, count)
    return found[0], sorted(path.as_posix() for path in set(Path().rglob("*.npz")) - set(before))


def numbers(arrays: Mapping[str, np.ndarray], kind: str) -> dict[str, int]:
    """How long each array of images or of labels is, by split."""
    return {name.removesuffix(kind).rstrip("_"): len(array) for name, array in arrays.items() if name.endswith(kind)}


@pytest.mark.parametrize(
    ("part", "left"),
    [
        ("import a folder", {"data/prepared/faces.npz": {"train": 50, "test": 2}}),
        (
            "pair",
            {
                "data/pairs/mnistm-mfeat/target.npz": {"train": 50},
                "data/pairs/mnistm-mfeat/test.npz": {"test": 50, "source_test": 50},
                "data/pairs/mnistm-mfeat/train.npz": {"source": 40, "validation": 10, "target": 50},
            },
        ),
        ("sample faces", {"samples/stylegan2-0.npz": {"report": 50, "clean": 50, "untrained": 50, "interpolation": 4}}),
        ("sample digits", {"samples/acgan-0.npz": {"": 50}}),
    ],
)
def test_what_a_part_makes_has_all_its_images(part, left):
    made = {path: np.load(path) for path in work_on(part, 50)[1]}
    assert {path: numbers(arrays, "images") for path, arrays in made.items()} == left
    for path, arrays in made.items():
        # Faces have none, and a pair's target is trained on without them.
        labelled = {} if part in ("import a folder", "sample faces") else left[path].keys() - {"target"}
        assert numbers(arrays, "labels") == {split: left[path][split] for split in labelled}


@pytest.mark.parametrize("part", ["evaluate digits", "evaluate a classifier"])
def test_every_digit_is_evaluated(part):
    assert len(work_on(part, 50)[0]) == 50


def test_all_faces_are_evaluated():
    found = work_on("evaluate faces", 50)[0]
    assert found["n_fake"] == 50 and np.isfinite(found["fd"])


def test_the_nearest_of_all_training_faces_are_found():
    """The same noise stands for both."""
    work_on("nearest faces", 50)
    found = read_json("results/stylegan2-0/neighbours.json")
    assert (found["n_fake"], found["n_train"], found["novelty"]) == (50, 50, 0.0)
    assert [nearest for nearest, *_ in found["train"]] == list(range(8))


def test_the_peak_is_that_of_the_work_alone():
    # In a process of its own: this one has freed memory that it would use again.
    code = f"""
import time
import numpy as np
from benchmarks import memory
nothing = lambda count: None
print(memory.peak_of(lambda count: np.ones(4 * {SIZE}, np.uint8), nothing, 50))
print(memory.peak_of(nothing, lambda count: [np.ones({SIZE}, np.uint8), time.sleep(0.1)], 50))
"""
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(memory.ROOT)}, capture_output=True)
    least, most = map(int, done.stdout.split())
    assert SIZE <= most - least < 1.2 * SIZE


def test_a_data_set_is_prepared_with_all_its_digits():
    memory.peak_of(memory.raw_digits, memory.prepare_digits, 70)
    images, labels = zip(*(load_digits("data/prepared/mnistm.npz", split) for split in ("train", "test")), strict=True)
    assert [len(one) for one in images] == [len(one) for one in labels] == [60, 10]
    assert images[0].std() > 10, "over a photograph"


def test_digits_are_judged_and_compared_with_test_digits():
    memory.peak_of(memory.judged, memory.evaluate_digits_whole, 50)
    [found] = Path("results").glob("acgan-*/evaluation.json")
    assert {"judge_accuracy", "diversity"} <= read_json(found).keys()
