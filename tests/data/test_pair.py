"""Pairs: one form for both domains, and to each reader no more than it may see."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import yaml

from stages.data import pair
from stages.runtime.images import load_arrays, save_arrays
from stages.runtime.stage import UserError

REPOSITORY = Path(__file__).parents[2]


def numbered(count, side, first):
    """Plain images that can be told apart by their first two channels, and survive resizing."""
    numbers = first + np.arange(count)
    colours = np.stack([numbers // 256, numbers % 256, np.full(count, 7)], axis=-1).astype(np.uint8)
    return np.broadcast_to(colours[:, None, None], (count, side, side, 3)).copy(), np.arange(count, dtype=np.int64) % 10


def write(dataset, side, first):
    train_images, train_labels = numbered(200, side, first)
    test_images, test_labels = numbered(60, side, first + 1000)
    arrays = {"train_images": train_images, "train_labels": train_labels, "test_images": test_images, "test_labels": test_labels}
    save_arrays(f"data/prepared/{dataset}.npz", **arrays)


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Run the stage for syn-mnistm with changes to the pair's and the images' params; returns its arrays by file and name."""
    monkeypatch.chdir(tmp_path)
    write("syn", 32, 0)
    write("mnistm", 28, 5000)
    params = yaml.safe_load((REPOSITORY / "presets/laptop.yaml").read_text())

    def run(images=None, **changes):
        params["adaptation"]["pairs"] = {
            "syn-mnistm": {"source": "syn", "target": "mnistm", "max_source": None, "max_target": None, "source_augment": "none"}
            | changes
        }
        params["adaptation"]["images"] |= images or {}
        Path("params.yaml").write_text(yaml.safe_dump(params))
        pair.main("syn-mnistm")
        return {path.stem: dict(np.load(path)) for path in Path("data/pairs/syn-mnistm").glob("*.npz")}

    return run


def numbers(images):
    return images[:, 14, 14, 0].astype(int) * 256 + images[:, 14, 14, 1]


def test_training_gets_no_target_labels(make):
    made = make()
    assert set(made["train"]) == {"source_images", "source_labels", "validation_images", "validation_labels", "target_images"}


def test_the_order_of_target_images_tells_nothing_of_their_labels(make):
    order = numbers(make()["train"]["target_images"])
    assert not np.array_equal(order, np.sort(order))
    assert abs(np.corrcoef(order, np.arange(len(order)))[0, 1]) < 0.2


def test_everything_has_one_form(make):
    for arrays in make().values():
        for name, array in arrays.items():
            if name.endswith("images"):
                assert array.shape[1:] == (28, 28, 3) and array.dtype == np.uint8
            else:
                assert array.dtype == np.int64


def test_validation_is_held_out_of_the_source_in_equal_shares_of_every_class(make):
    train = make(images={"validation": 0.3})["train"]
    kept, held_out = set(numbers(train["source_images"])), set(numbers(train["validation_images"]))
    assert len(kept) == 140 and len(held_out) == 60
    assert kept | held_out == set(range(200)) and not kept & held_out
    assert np.bincount(train["validation_labels"]).tolist() == [6] * 10


def test_images_keep_their_own_labels(make):
    made = make(max_source=50, max_target=70)
    for file, images, labels, first in [
        ("train", "source_images", "source_labels", 0),
        ("train", "validation_images", "validation_labels", 0),
        ("target", "train_images", "train_labels", 5000),
        ("test", "test_images", "test_labels", 6000),
        ("test", "source_test_images", "source_test_labels", 1000),
    ]:
        assert np.array_equal((numbers(made[file][images]) - first) % 10, made[file][labels])


def test_caps_draw_a_random_subset_of_each_side_and_leave_the_tests_whole(make):
    made = make(max_source=50, max_target=70)
    train = made["train"]
    source = np.concatenate([numbers(train["source_images"]), numbers(train["validation_images"])])
    target = numbers(train["target_images"])
    assert len(set(source)) == 50 and len(set(target)) == 70
    assert source.max() > 100 and target.max() > 5100
    assert np.array_equal(numbers(made["target"]["train_images"]), target)
    assert len(made["test"]["test_images"]) == len(made["test"]["source_test_images"]) == 60


def test_target_tests_are_never_among_the_training_images(make):
    made = make()
    assert not set(numbers(made["test"]["test_images"])) & set(numbers(made["train"]["target_images"]))


def test_the_same_seed_gives_the_same_bytes_and_another_gives_another_split(make):
    digests = []
    for seed in (0, 0, 1):
        make(images={"seed": seed})
        digests.append(hashlib.sha256(Path("data/pairs/syn-mnistm/train.npz").read_bytes()).hexdigest())
    assert digests[0] == digests[1] != digests[2]


def test_a_cap_above_the_number_of_images_takes_all(make):
    assert len(make(max_target=10**6)["train"]["target_images"]) == 200


def test_images_that_have_the_form_already_stay_as_they_are():
    images = np.random.default_rng(0).integers(256, size=(3, 28, 28, 3), dtype=np.uint8)
    assert np.array_equal(pair.unify(images, 28), images)


def test_grey_and_oblong_images_are_repeated_padded_and_resized():
    tall = np.random.default_rng(0).integers(256, size=(2, 56, 28, 1), dtype=np.uint8)
    unified = pair.unify(tall, 28)
    assert unified.shape == (2, 28, 28, 3) and (unified == unified[..., :1]).all()
    wide = np.zeros((1, 14, 28, 3), np.uint8)
    wide[:, 0], wide[:, -1] = 10, 20
    padded = pair.unify(wide, 28)[0, :, 0, 0]
    assert padded.tolist() == [10] * 8 + [0] * 12 + [20] * 8


def test_reducing_is_antialiased():
    checks = (np.indices((56, 56)).sum(0) % 2 * 255).astype(np.uint8)
    reduced = pair.unify(np.repeat(checks[None, ..., None], 3, axis=-1), 28)
    assert np.abs(reduced[:, 2:-2, 2:-2].astype(int) - 127).max() <= 3


def test_a_prepared_file_that_is_missing_is_one_clear_line(make):
    Path("data/prepared/mnistm.npz").unlink()
    with pytest.raises(UserError, match=r"mnistm\.npz is missing"):
        make()
    assert not Path("data/pairs").exists()


def test_what_is_written_reads_back_through_the_common_reader(make):
    make()
    images, labels = load_arrays("data/pairs/syn-mnistm/target.npz", "train_images", "train_labels")
    assert len(images) == len(labels) == 200
