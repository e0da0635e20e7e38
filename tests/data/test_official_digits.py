"""SVHN, USPS and MNIST-M, from small files in the publishers' own formats through `prepare.main`, and damaged ones."""

import bz2
import errno
import gzip
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.data import official, prepare
from stages.runtime.errors import UserError
from stages.runtime.images import load_split
from tests.data.raw import RAW, idx, write_bsds500, write_mnist, write_svhn, write_usps

# ---- SVHN


def test_svhn_becomes_28x28_and_its_label_10_is_0(workspace, monkeypatch):
    images = write_svhn(monkeypatch)
    prepare.main("svhn")
    for split in ("train", "test"):
        prepared, labels = load_split("data/prepared/svhn.npz", split)
        assert labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]
        for number in (0, 11):
            reduced = Image.fromarray(images[split][..., number]).resize((28, 28), Image.Resampling.BILINEAR)
            assert np.array_equal(prepared[number], reduced)


def test_an_svhn_file_with_another_md5_is_one_clear_line(workspace, monkeypatch):
    write_svhn(monkeypatch)
    path = RAW / "svhn/test_32x32.mat"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"test_32x32\.mat is damaged \(its md5 is not the publisher's\): delete its folder"):
        prepare.main("svhn")
    assert not list(Path("data").glob("prepared/*"))


def without_md5(monkeypatch):
    from torchvision.datasets import SVHN

    monkeypatch.setattr(SVHN, "split_list", {split: ["", f"{split}_32x32.mat", None] for split in ("train", "test")})


def test_an_svhn_file_damaged_anywhere_is_one_clear_line_even_where_no_md5_is_checked(workspace, monkeypatch):
    write_svhn(monkeypatch, count=3)
    without_md5(monkeypatch)
    path = RAW / "svhn/train_32x32.mat"
    whole = path.read_bytes()
    damaged = [b"", b"no matlab", whole[:60], whole[:130], whole[: len(whole) // 2], b"\x89HDF\r\n\x1a\n" + bytes(600)]
    damaged.append(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + bytes(400))
    generator = np.random.default_rng(0)
    for place in [*range(116, 160), *generator.integers(len(whole), size=40)]:
        damaged.append(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            official.read_svhn(RAW / "svhn", "train")
        except UserError as error:
            assert "train_32x32.mat is damaged" in str(error)
            refused += 1
    assert refused > 60


@pytest.mark.parametrize(
    "changes",
    [
        {"y": np.full((12, 1), 11, np.uint8)},
        {"y": np.ones((11, 1), np.uint8)},
        {"y": np.full((12, 1), "a")},
        {"X": np.zeros((32, 32, 3, 12))},
        {"X": np.zeros((32, 32, 3), np.uint8)},
        {"X": np.zeros((28, 28, 3, 12), np.uint8)},
        {"X": "pictures"},
    ],
)
def test_an_svhn_file_of_another_content_is_one_clear_line(workspace, monkeypatch, changes):
    write_svhn(monkeypatch, **changes)
    with pytest.raises(UserError, match=r"train_32x32\.mat is damaged"):
        prepare.main("svhn")


# ---- USPS


def test_usps_becomes_28x28_in_three_equal_channels_and_its_labels_begin_at_0(workspace):
    write_usps()
    prepare.main("usps")
    for split in ("train", "test"):
        images, labels = load_split("data/prepared/usps.npz", split)
        assert images.shape == (10, 28, 28, 3) and (images == images[..., :1]).all()
        assert labels.tolist() == list(range(10))
        assert (images[:, 0] == 0).all() and (images[:, 2] > 200).all(), "an upright picture keeps its first rows on top"


def test_usps_greys_are_off_by_less_than_a_level_and_black_and_white_by_nothing(workspace):
    greys = write_usps()
    images, _ = official.read_usps(RAW / "usps", "test")
    error = images - (greys + 1) / 2 * 255
    assert error.min() > -1 and error.max() < 1e-4
    assert (images[:, 0] == 0).all() and (images[:, 1] == 255).all()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda packed: b"",
        lambda packed: b"no bzip2",
        lambda packed: packed[: len(packed) // 2],
        lambda packed: packed[:-4] + b"\0\0\0\0",
        lambda packed: packed[:400] + b"\0\0\0" + packed[403:],
        lambda packed: bz2.compress(b""),
        lambda packed: bz2.compress(b"\n\n"),
        lambda packed: bz2.compress(bz2.decompress(packed)[:-30]),
        lambda packed: bz2.compress(bz2.decompress(packed).replace(b"7:", b"7:x")),
        lambda packed: bz2.compress(bz2.decompress(packed).replace(b" 7:", b" 7:nan 8:")),
        lambda packed: bz2.compress(bz2.decompress(packed).replace(b"10 1:", b"11 1:")),
        lambda packed: bz2.compress(bz2.decompress(packed).replace(b"10 1:", b"a 1:")),
        lambda packed: bz2.compress(b"\xff\xfe" + bz2.decompress(packed)),
        lambda packed: bz2.compress(b" ".join([b"1", *(b"%d:nan" % number for number in range(1, 257))])),
    ],
)
def test_a_damaged_usps_file_is_one_clear_line(workspace, spoil):
    write_usps()
    path = RAW / "usps/usps.t.bz2"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(UserError, match=r"usps\.t\.bz2 is damaged"):
        prepare.main("usps")
    assert not list(Path("data").glob("prepared/*"))


# ---- MNIST-M


def write_photos():
    (RAW / "mnistm/photos").mkdir(parents=True)
    picture = np.random.default_rng(0).integers(256, size=(60, 200, 3), dtype=np.uint8)
    Image.fromarray(picture).save(RAW / "mnistm/photos/photo.png")


def test_official_mnistm_lays_training_digits_over_bsds500_s_training_and_test_digits_over_its_test_pictures(workspace):
    made = write_mnist()
    write_bsds500()
    prepare.main("mnistm")
    for split, red in (("train", 0), ("test", 200)):
        images, labels = load_split("data/prepared/mnistm.npz", split)
        assert labels.tolist() == made[split][1].tolist()
        expected = np.abs(made[split][0][..., None].astype(int) - [red, 50, 50])
        assert np.abs(images - expected).max() <= 3, "but for JPEG's rounding"


def test_official_digits_over_photographs_give_the_packaged_bytes(workspace):
    made = write_mnist()
    write_photos()
    parts = [(images.reshape(-1, 784) / np.float32(256), labels) for images, labels in made.values()]
    parts[:1] = [tuple(half) for half in zip(*(np.split(array, [30]) for array in parts[0]), strict=True)]
    (RAW / "mnistm/mnist.pkl.gz").write_bytes(gzip.compress(pickle.dumps(tuple(parts), protocol=4)))
    contents = []
    for source in ("packaged", "official_over_photographs"):
        workspace("mnistm", source=source)
        prepare.main("mnistm")
        contents.append(Path("data/prepared/mnistm.npz").read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize("name", ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda packed: b"",
        lambda packed: b"no gzip",
        lambda packed: packed[: len(packed) // 2],
        lambda packed: packed[:-8] + bytes(8),
        lambda packed: gzip.compress(b""),
        lambda packed: gzip.compress(gzip.decompress(packed)[:-1]),
        lambda packed: gzip.compress(gzip.decompress(packed)[:6]),
        lambda packed: gzip.compress(b"\0\0\x0d" + gzip.decompress(packed)[3:]),
        lambda packed: gzip.compress(idx(np.zeros((10, 10), np.uint8))),
        lambda packed: gzip.compress(idx(np.full(10, 10))),
        lambda packed: gzip.compress(idx(np.zeros((10, 27, 28)))),
        lambda packed: gzip.compress(idx(np.zeros((9, 28, 28)))),
    ],
)
def test_a_damaged_mnist_file_is_one_clear_line(workspace, name, spoil):
    write_mnist(counts=(20, 20))
    write_bsds500()
    path = RAW / f"mnistm/{name}-ubyte.gz"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(UserError, match=rf"{name[:5]}.*ubyte\.gz.* is damaged \(.+\): delete its folder"):
        prepare.main("mnistm")
    assert not list(Path("data").glob("prepared/*"))


def test_a_disk_that_is_full_is_not_called_a_damaged_file(workspace, monkeypatch):
    def refuse(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_mnist()
    write_bsds500()
    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(UserError, match=r"MNIST/raw/t.*ubyte can't be written: no space left on device: free some space there"):
        prepare.main("mnistm")


def test_a_damaged_bsds500_picture_and_a_folder_without_any_are_one_clear_line(workspace):
    write_mnist()
    write_bsds500()
    path = RAW / "mnistm/bsds500/test/22003.jpg"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match=r"22003\.jpg is damaged"):
        prepare.main("mnistm")
    for path in (RAW / "mnistm/bsds500/train").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="bsds500/train holds no photographs"):
        prepare.main("mnistm")
