import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages.runtime.errors import UserError
from stages.runtime.files import CannotWrite, read_json, replacing, sha256, write_json
from stages.runtime.images import load_arrays, load_split, save_arrays


def test_a_failing_writer_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), replacing(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.txt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS, errno.EIO])
def test_what_the_file_system_refuses_is_one_line_with_the_path_and_what_to_do(tmp_path, number):
    with pytest.raises(CannotWrite) as raised, replacing(tmp_path / "out.txt") as temporary:
        temporary.write_text("half")
        raise OSError(number, os.strerror(number))
    said = str(raised.value)
    assert said.startswith(f"{tmp_path}/out.txt can't be written: {os.strerror(number).lower()}: ") and "\n" not in said
    assert len(said.rpartition(": ")[2]) > 10
    assert not os.listdir(tmp_path)


def test_a_folder_where_a_file_should_be_and_the_other_way_round_are_said(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(CannotWrite, match="folder can't be written: is a directory: .* move it away"):
        write_json(tmp_path / "folder", {})
    write_json(tmp_path / "file", {})
    with pytest.raises(CannotWrite, match="a file stands where a folder is needed"):
        write_json(tmp_path / "file/below/out.json", {})
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_every_writer_stops_at_a_limit_with_one_line(tmp_path):
    program = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r})
import numpy as np, torch
from stages.runtime.files import CannotWrite, write_json
from stages.runtime.images import save_arrays
from stages.runtime.training import write_history
from stages.runtime.weights import save_weights
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
writers = dict(
    a=lambda path: write_json(path, list(range(1000))),
    b=lambda path: save_arrays(path, images=np.zeros((9, 9, 9, 3), np.uint8)),
    c=lambda path: save_weights(path, dict(weight=torch.zeros(1000))),
    d=lambda path: write_history(path, [dict(step=step) for step in range(1000)]),
)
for suffix, (name, write) in zip((".json", ".npz", ".safetensors", ".csv"), writers.items()):
    try:
        write(name + suffix)
    except CannotWrite as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"{name} can't be written" for name in ("a.json", "b.npz", "c.safetensors", "d.csv")
    ]
    assert all("file too large: raise the limit" in line for line in lines)
    assert not os.listdir(tmp_path)


def test_leftovers_of_killed_writers_go_and_those_of_living_ones_stay(tmp_path):
    (tmp_path / ".out-abcdefgh.txt").write_text("left")
    (tmp_path / ".out-too-abcdefgh.txt").write_text("another file's")
    with replacing(tmp_path / "out.txt") as first:
        assert not (tmp_path / ".out-abcdefgh.txt").exists()
        first.write_text("first")
        with replacing(tmp_path / "out.txt") as second:
            assert first.exists()
            second.write_text("second")
        assert (tmp_path / "out.txt").read_text() == "second"
    assert (tmp_path / "out.txt").read_text() == "first"
    assert sorted(os.listdir(tmp_path)) == [".out-too-abcdefgh.txt", "out.txt"]


def test_a_file_and_then_its_folder_reach_the_disk(tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(os, "fsync", lambda handle: order.append(stat.S_ISDIR(os.fstat(handle).st_mode)))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda *paths: order.append("replaced") or replace(*paths))
    write_json(tmp_path / "out.json", {})
    assert order == [False, "replaced", True]


def test_a_replaced_file_is_readable_by_whom_the_umask_allows(tmp_path):
    old = os.umask(0o022)
    try:
        write_json(tmp_path / "a.json", {"x": 1})
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o644
    assert read_json(tmp_path / "a.json") == {"x": 1}


@pytest.mark.parametrize("read", [read_json, lambda path: load_arrays(path, "images")], ids=["json", "arrays"])
@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES, errno.EIO])
def test_a_file_that_the_system_does_not_let_read_is_not_called_damaged(tmp_path, monkeypatch, read, number):
    def refuse(*of, **more):
        raise OSError(number, os.strerror(number))

    path = tmp_path / "a"
    path.write_text("{}")
    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(np, "load", refuse)
    with pytest.raises(UserError, match=f"^{path} can't be read: {os.strerror(number).lower()[:8]}") as raised:
        read(path)
    assert "delete" not in str(raised.value)


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
        ({"train_images": np.zeros((2, 3, 3, 3), np.uint8), "train_labels": np.zeros(3, np.int64)}, "2 images but 3"),
        ({"other": np.zeros(1)}, "no array"),
    ],
)
def test_arrays_of_another_form_are_refused_by_name(tmp_path, arrays, words):
    save_arrays(tmp_path / "a.npz", **{"train_labels": np.zeros(2, np.int64)} | arrays)
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
