import os
import stat

import numpy as np
import pytest

from stages.runtime.files import read_json, replacing, sha256, write_json
from stages.runtime.images import load_arrays, load_split, save_arrays
from stages.runtime.stage import UserError


def test_a_failing_writer_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), replacing(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.txt"]


def test_a_replaced_file_is_readable_by_whom_the_umask_allows(tmp_path):
    old = os.umask(0o022)
    try:
        write_json(tmp_path / "a.json", {"x": 1})
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o644
    assert read_json(tmp_path / "a.json") == {"x": 1}


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"fd": float("nan")})
    assert not os.listdir(tmp_path)


def test_the_same_arrays_give_the_same_bytes(tmp_path):
    images = np.arange(2 * 3 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3, 3)
    for name in ("a", "b"):
        save_arrays(tmp_path / f"{name}.npz", train_images=images, train_labels=np.array([1, 2]))
    assert sha256(tmp_path / "a.npz") == sha256(tmp_path / "b.npz")
    loaded, labels = load_split(tmp_path / "a.npz", "train")
    np.testing.assert_array_equal(loaded, images)
    np.testing.assert_array_equal(labels, [1, 2])


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"train_images": np.zeros((2, 3, 3, 3))}, "must be uint8"),
        ({"train_images": np.zeros((0, 3, 3, 3), np.uint8)}, "is empty"),
        ({"train_images": np.zeros((2, 3, 3, 2), np.uint8)}, "must be uint8"),
        ({"train_images": np.zeros((2, 3, 3, 3), np.uint8), "train_labels": np.zeros(2)}, "must be int64"),
        ({"train_images": np.zeros((2, 3, 3, 3), np.uint8), "train_labels": np.zeros(3, np.int64)}, "2 train images but 3"),
        ({"other": np.zeros(1)}, "no array"),
    ],
)
def test_arrays_of_another_form_are_refused_by_name(tmp_path, arrays, words):
    save_arrays(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=words):
        load_split(tmp_path / "a.npz", "train")


def test_nan_in_an_array_file_is_refused(tmp_path):
    save_arrays(tmp_path / "a.npz", features=np.array([1.0, np.nan]))
    with pytest.raises(UserError, match="NaN"):
        load_arrays(tmp_path / "a.npz", "features")


@pytest.mark.parametrize("keep", [0, 10, 100, -30])
def test_a_truncated_array_file_is_refused(tmp_path, keep):
    path = tmp_path / "a.npz"
    save_arrays(path, train_images=np.zeros((2, 9, 9, 3), np.uint8), train_labels=np.zeros(2, np.int64))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="damaged"):
        load_split(path, "train")


def test_pickled_arrays_are_never_loaded(tmp_path):
    np.savez(tmp_path / "a.npz", train_images=np.array([{"run": "me"}], dtype=object))
    with pytest.raises(UserError, match="damaged"):
        load_arrays(tmp_path / "a.npz", "train_images")


def test_a_missing_file_says_what_makes_it(tmp_path):
    with pytest.raises(UserError, match="dvc repro"):
        load_split(tmp_path / "none.npz", "train")
