"""An attack file through every reader: a canary tells whether any of its code has run, or any of its files got out."""

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat, savemat

from stages.data import archives, formats, official
from stages.evaluation import extractors
from stages.runtime import params
from stages.runtime.errors import UserError
from stages.runtime.files import read_json
from stages.runtime.images import load_arrays
from stages.runtime.resume import ResumeState
from stages.runtime.weights import read_weights


class Attack:
    """Unpickled, it leaves a file named canary in the current folder."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("canary"),)


PAYLOADS = {
    "plain": pickle.dumps(Attack()),
    "protocol 0": pickle.dumps(Attack(), 0),
    "in a dict": pickle.dumps({"weight": Attack()}),
    "as an array": pickle.dumps(np.array([Attack()])),
    "by name": b"cos\nsystem\n(S'touch canary'\ntR.",
    "by a numpy function": b"cnumpy.testing._private.utils\nrunstring\n(S'import os; os.system(\"touch canary\")'\n}tR.",
    "by a nested name": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__class__\x93.",
}


@pytest.fixture(autouse=True)
def canary(tmp_path, monkeypatch):
    """The current folder, in which nothing may have appeared at the end but what the test itself wrote."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "canary"
    assert not list(tmp_path.parent.rglob("canary*"))


def test_the_attack_works_where_pickles_are_trusted(canary):
    pickle.loads(PAYLOADS["plain"])
    assert canary.exists()
    canary.unlink()


def in_checkpoint(payload: bytes) -> bytes:
    """A file as torch.save makes it, with another pickle in it."""
    file, changed = io.BytesIO(), io.BytesIO()
    torch.save({"weight": torch.zeros(2)}, file)
    with zipfile.ZipFile(file) as original, zipfile.ZipFile(changed, "w") as archive:
        for name in original.namelist():
            archive.writestr(name, payload if name.endswith("data.pkl") else original.read(name))
    return changed.getvalue()


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_the_packaged_mnist_is_not_unpickled(payload):
    Path("mnist.pkl.gz").write_bytes(gzip.compress(payload))
    with pytest.raises(UserError, match="^mnist.pkl.gz is damaged"):
        formats.read_mnist(Path("mnist.pkl.gz"))


@pytest.mark.parametrize("wrap", [bytes, in_checkpoint], ids=["bare", "in a checkpoint"])
@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_weights_are_not_unpickled(payload, wrap):
    Path("net").mkdir()
    Path("net/net.pth").write_bytes(wrap(payload))
    with pytest.raises(UserError, match="net.pth"):
        extractors.load("efficientnet_lite0", "net")


@pytest.mark.parametrize("wrap", [bytes, in_checkpoint], ids=["bare", "in a checkpoint"])
@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_a_resume_state_is_not_unpickled(payload, wrap, monkeypatch, capsys):
    state = ResumeState("run", {}, [])
    state.save({"weight": torch.zeros(2)}, 1)
    # The checksum guards against accidents alone: who writes the file writes that too.
    content = wrap(payload)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", lambda _, file: file.write(content))
        state.save({}, 2)
    [previous, newest] = sorted(path for path in state.folder.iterdir() if path.suffix == ".pt")
    assert content in newest.read_bytes()
    previous.unlink()
    assert state.load() is None
    assert str(newest) in capsys.readouterr().err


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_arrays_are_not_unpickled(payload):
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"
    with zipfile.ZipFile("arrays.npz", "w") as archive:
        archive.writestr("train_labels.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + payload)
    with pytest.raises(UserError, match="arrays.npz"):
        load_arrays("arrays.npz", "train_labels")


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_a_pickle_in_the_place_of_arrays_or_weights_or_figures_is_refused(payload):
    Path("file").write_bytes(payload)
    for read in (lambda: load_arrays("file", "images"), lambda: read_weights("file"), lambda: read_json("file")):
        with pytest.raises(UserError, match="^file "):
            read()


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system", "!!python/object/new:os.system", "!!python/name:os.system", "!!python/module:os"]
)
def test_params_make_no_objects(tag):
    Path("params.yaml").write_text(f"data: {tag} ['touch canary']\n")
    with pytest.raises(UserError, match="has the tag"):
        params.load()


def test_a_matlab_file_that_is_not_the_publisher_s_is_not_even_opened(monkeypatch):
    monkeypatch.setattr("scipy.io.loadmat", lambda *_, **__: pytest.fail("it was opened"))
    savemat("train_32x32.mat", {"X": np.zeros((32, 32, 3, 1), np.uint8), "y": np.array([[1]])})
    with pytest.raises(UserError, match="train_32x32.mat is damaged"):
        official.read_svhn(Path(), "train")


def test_scipy_unpickles_nothing_in_a_matlab_file(canary):
    savemat("x.mat", {"X": np.array([PAYLOADS["plain"], PAYLOADS["by name"].decode()], object)})
    assert loadmat("x.mat")["X"].size == 2
    assert not canary.exists()


NAMES = [
    "../canary",
    "root/../../canary",
    "/canary",
    "root/a/../../../canary",
    "root//../canary",
    "..\\canary",
    "root/..\\canary",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_can_t_leave_the_folder(name, kind):
    Path("content").mkdir()
    if kind == "zip":
        with zipfile.ZipFile("archive", "w") as archive:
            archive.writestr("root/good", b"")
            archive.writestr(name, b"")
    else:
        with tarfile.open("archive", "w") as archive:
            archive.addfile(tarfile.TarInfo("root/good"))
            archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(UserError, match="^archive is malicious"):
        archives.unpack(Path("archive"), "root", "*", Path("content"))
    assert list(Path("content").iterdir()) == []
    assert not Path("/canary").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_link_or_device_is_not_unpacked(kind):
    Path("content").mkdir()
    link = tarfile.TarInfo("root/link")
    link.type, link.linkname = kind, str(Path().resolve())
    with tarfile.open("archive", "w") as archive:
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("root/link/canary"))
    with pytest.raises(UserError, match="^archive is malicious"):
        archives.unpack(Path("archive"), "root", "*", Path("content"))
    assert list(Path("content").iterdir()) == []


def test_words_in_figures_stay_words():
    Path("evaluation.json").write_text(json.dumps({"resize": "__import__('os').system('touch canary')"}))
    assert read_json("evaluation.json") == {"resize": "__import__('os').system('touch canary')"}
