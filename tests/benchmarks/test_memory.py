"""Every part whose memory is watched finds what it reads, and leaves what it makes."""

from pathlib import Path

import pytest

from benchmarks import memory
from stages.runtime.files import read_json
from stages.runtime.images import load_digits


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("part", memory.PARTS)
def test_every_part_runs_on_a_few_images(part):
    memory.peak_of(*memory.PARTS[part][1:], 50)


def test_a_data_set_is_prepared_with_all_its_digits():
    memory.peak_of(memory.raw_digits, memory.prepare_digits, 70)
    images, labels = zip(*(load_digits("data/prepared/mnistm.npz", split) for split in ("train", "test")), strict=True)
    assert [len(one) for one in images] == [len(one) for one in labels] == [60, 10]
    assert images[0].std() > 10, "over a photograph"


def test_digits_are_judged_and_compared_with_test_digits():
    memory.peak_of(memory.judged, memory.evaluate_digits_whole, 50)
    [found] = Path("results").glob("acgan-*/evaluation.json")
    assert {"judge_accuracy", "diversity"} <= read_json(found).keys()
