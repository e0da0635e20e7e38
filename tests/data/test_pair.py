"""Pairs: one form for both domains, and to each reader no more than it may see."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import yaml

from stages.data import pair
from stages.runtime.errors import UserError
from stages.runtime.images import load_arrays, save_arrays

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


def test_no_training_sees_the_images_for_tuning(make):
    whole, made = make(), make(images={"oracle_dev": 40})
    dev, left = numbers(made["test"]["oracle_dev_images"]), numbers(made["train"]["target_images"])
    assert len(set(dev)) == 40 and len(set(left)) == 160 and not set(dev) & set(left)
    assert np.array_equal(numbers(made["target"]["train_images"]), left)
    assert np.array_equal((dev - 5000) % 10, made["test"]["oracle_dev_labels"])
    assert set(dev) | set(left) == set(numbers(whole["train"]["target_images"]))
    assert {"oracle_dev_images", "oracle_dev_labels"} == set(made["test"]) - set(whole["test"])
    for name in ("source_images", "validation_images"):
        assert np.array_equal(made["train"][name], whole["train"][name])


def test_images_for_tuning_are_the_same_under_any_cap_and_come_on_top_of_it(make):
    dev, capped = (make(images={"oracle_dev": 40}, max_target=most) for most in (None, 150))
    assert np.array_equal(dev["test"]["oracle_dev_images"], capped["test"]["oracle_dev_images"])
    assert len(capped["train"]["target_images"]) == 150
    assert np.array_equal(capped["train"]["target_images"], dev["train"]["target_images"][:150])


@pytest.mark.parametrize("count", [200, 1000])
def test_images_for_tuning_that_leave_none_to_train_on_are_refused(make, count):
    with pytest.raises(UserError, match=f"oracle_dev {count} leaves none of the 200 training images of mnistm"):
        make(images={"oracle_dev": count})
    assert not Path("data/pairs").exists()


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


def test_a_prepared_file_that_is_missing_is_one_clear_line(make):
    Path("data/prepared/mnistm.npz").unlink()
    with pytest.raises(UserError, match=r"mnistm\.npz is missing"):
        make()
    assert not Path("data/pairs").exists()


def test_what_is_written_reads_back_through_the_common_reader(make):
    make()
    images, labels = load_arrays("data/pairs/syn-mnistm/target.npz", "train_images", "train_labels")
    assert len(images) == len(labels) == 200


@pytest.mark.parametrize(("share", "count"), [(0.01, 0), (0.99, 150)])
def test_a_validation_split_of_nothing_or_of_everything_is_one_clear_line(make, share, count):
    expected = rf"adaptation\.images\.validation {share} holds out {count} of the 150 source images of syn"
    with pytest.raises(UserError, match=expected):
        make(images={"validation": share}, max_source=150)
    assert not Path("data/pairs").exists()
