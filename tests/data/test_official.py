"""The official data sets, from small files in the publishers' own formats through `prepare.main`, and damaged ones."""

import bz2
import gzip
import hashlib
import io
import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import yaml
from PIL import Image

from stages.data import official, prepare
from stages.runtime.errors import UserError
from stages.runtime.images import load_arrays, load_split

REPOSITORY = Path(__file__).parents[2]
RAW = Path("data/raw")


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """An empty working folder with the paper's params, and a function that changes those of one data set."""
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load((REPOSITORY / "presets/paper.yaml").read_text())
    # StyleGAN2 and its figures ask more of their data set than the small ones here give.
    params["data"]["folders"]["faces"] = "/faces"
    params["stylegan2"]["dataset"] = "faces"

    def change(dataset, **values):
        params["data"]["datasets"][dataset] |= values
        Path("params.yaml").write_text(yaml.safe_dump(params))

    change("celeba", train=3, test=2)
    return change


# ---- SVHN


def write_svhn(monkeypatch, count=12, **changes):
    """Both .mat files as published, and their md5 in the place of the publisher's; returns the images by split."""
    from torchvision.datasets import SVHN

    (RAW / "svhn").mkdir(parents=True)
    generator, listed, images = np.random.default_rng(0), {}, {}
    for split in ("train", "test"):
        images[split] = generator.integers(256, size=(32, 32, 3, count), dtype=np.uint8)
        labels = (np.arange(count) % 10 + 1).astype(np.uint8)[:, None]
        path = RAW / "svhn" / f"{split}_32x32.mat"
        scipy.io.savemat(path, {"X": images[split], "y": labels} | changes, do_compression=True)
        listed[split] = ["", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(SVHN, "split_list", listed)
    return images


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


def libsvm(greys, labels):
    """Lines as published: the label from 1 to 10, then all 256 pixels from -1 to 1 with their numbers from 1."""
    lines = []
    for pixels, label in zip(greys.reshape(-1, 256), labels, strict=True):
        lines.append(" ".join([str(label), *(f"{number}:{grey:g}" for number, grey in enumerate(pixels, 1))]) + " \n")
    return "".join(lines).encode()


def write_usps(count=10):
    (RAW / "usps").mkdir(parents=True)
    greys = np.random.default_rng(0).integers(2001, size=(count, 16, 16)) / 1000 - 1
    greys[:, 0], greys[:, 1] = -1, 1
    content = libsvm(greys, np.arange(count) % 10 + 1)
    for name in ("usps.bz2", "usps.t.bz2"):
        (RAW / "usps" / name).write_bytes(bz2.compress(content))
    return greys


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


def idx(array):
    """IDX as published: two zeros, the type 8 (bytes), the number of axes, each axis big-endian, then the bytes."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.astype(np.uint8).tobytes()


def write_mnist(counts=(40, 10)):
    """MNIST's four files, of digits that are black but for their upper half; returns images and labels by split."""
    (RAW / "mnistm").mkdir(parents=True)
    made = {}
    for split, prefix, count in zip(("train", "test"), ("train", "t10k"), counts, strict=True):
        images = np.random.default_rng(count).integers(256, size=(count, 28, 28), dtype=np.uint8)
        images[:, 14:] = 0
        made[split] = images, np.arange(count) % 10
        for name, array in zip(("images-idx3", "labels-idx1"), made[split], strict=True):
            (RAW / f"mnistm/{prefix}-{name}-ubyte.gz").write_bytes(gzip.compress(idx(array)))
    return made


def write_bsds500():
    """Pictures that say by their colour which split they belong to, in both of BSDS500's orientations."""
    for number, split in enumerate(("train", "val", "test")):
        folder = RAW / "mnistm/bsds500" / split
        folder.mkdir(parents=True)
        for name, form in ((f"{number}2003.jpg", (321, 481)), (f"{number}35070.jpg", (481, 321))):
            Image.new("RGB", form, (100 * number, 50, 50)).save(folder / name, quality=95)


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


# ---- CelebA


def jpeg(picture):
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=95, subsampling=0)
    return content.getvalue()


def face(number):
    """A grey that says which picture it is, a white cross of 2 pixels about x=89, y=121, red around the default square."""
    pixels = np.full((218, 178, 3), 20 + 10 * number, np.uint8)
    pixels[:57], pixels[185:], pixels[:, :25], pixels[:, 153:] = ([255, 0, 0],) * 4
    pixels[120:122], pixels[:, 88:90] = 255, 255
    return Image.fromarray(pixels)


def write_celeba(count=7, **changes):
    """The archive, its members in no order, and the list; `changes` are members' other contents, None for none."""
    (RAW / "celeba").mkdir(parents=True, exist_ok=True)
    names = [f"{number + 1:06}.jpg" for number in range(count)]
    with zipfile.ZipFile(RAW / "celeba/img_align_celeba.zip", "w") as archive:
        archive.writestr("img_align_celeba/", "")
        for number, name in reversed(list(enumerate(names))):
            content = changes.get(name, jpeg(face(number)))
            if content is not None:
                archive.writestr(f"img_align_celeba/{name}", content)
    (RAW / "celeba/list_eval_partition.txt").write_text("".join(f"{name} {number % 3}\n" for number, name in enumerate(names)))


def test_celeba_takes_the_first_pictures_for_training_and_the_next_for_testing_without_labels(workspace):
    write_celeba()
    prepare.main("celeba")
    with np.load("data/prepared/celeba.npz") as file:
        assert set(file) == {"train_images", "test_images"}
    train, test = load_arrays("data/prepared/celeba.npz", "train_images", "test_images")
    assert train.shape == (3, 64, 64, 3) and test.shape == (2, 64, 64, 3)
    assert np.abs(train[:, 10, 10].astype(int) - [[20], [30], [40]]).max() <= 3
    assert np.abs(test[:, 10, 10].astype(int) - [[50], [60]]).max() <= 3


@pytest.mark.parametrize("side", [128, 64])
def test_celeba_s_square_has_its_centre_where_params_say_and_nothing_from_outside(workspace, side):
    write_celeba()
    workspace("celeba", crop_side=side, size=side // 2)
    prepare.main("celeba")
    [images] = load_arrays("data/prepared/celeba.npz", "train_images")
    middle = side // 4
    white = (images[0] > 110).all(axis=-1)
    assert white.all(axis=1).nonzero()[0].tolist() == [middle - 1, middle] == white.all(axis=0).nonzero()[0].tolist()
    assert (images[0, 4, 4] < 40).all() and not white[: middle - 3, : middle - 3].any()
    red = (images[0, ..., 0].astype(int) - images[0, ..., 1]) > 60
    assert not red.any()


def test_celeba_s_square_begins_at_the_very_pixel(workspace):
    write_celeba()
    workspace("celeba", crop_side=130, size=130)
    prepare.main("celeba")
    [images] = load_arrays("data/prepared/celeba.npz", "train_images")
    red = (images[0, ..., 0].astype(int) - images[0, ..., 1]) > 100
    edges = np.zeros((130, 130), bool)
    edges[[0, -1]] = edges[:, [0, -1]] = True
    # The white cross goes over the frame.
    edges[64:66], edges[:, 64:66] = False, False
    assert np.array_equal(red, edges)


def test_celeba_is_reduced_with_antialiasing(workspace):
    checks = (np.indices((218, 178)).sum(0) % 2 * 255).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(checks).convert("RGB").save(content, "PNG")
    write_celeba(**{"000001.jpg": content.getvalue()})
    prepare.main("celeba")
    [images] = load_arrays("data/prepared/celeba.npz", "train_images")
    assert np.abs(images[0, 2:-2, 2:-2].astype(int) - 127).max() <= 3


def spoil_member(content):
    place = content.index(b"\xff\xd8") + 300
    return content[:place] + bytes(20) + content[place + 20 :]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda content: b"", "File is not a zip file"),
        (lambda content: b"<html>quota exceeded</html>", "File is not a zip file"),
        (lambda content: content[: len(content) // 2], "File is not a zip file"),
        (spoil_member, "Bad CRC-32 for file 'img_align_celeba/"),
    ],
)
def test_a_damaged_celeba_archive_is_one_clear_line(workspace, spoil, reason):
    write_celeba(count=5)
    path = RAW / "celeba/img_align_celeba.zip"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(UserError, match=rf"img_align_celeba\.zip is damaged \({reason}"):
        prepare.main("celeba")
    assert not list(Path("data").glob("prepared/*"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "it lacks 1 pictures that the list names, the first is 000002.jpg"),
        (b"text", "000002.jpg: no PNG or JPEG picture"),
        (jpeg(face(1))[:700], "000002.jpg: .*truncated"),
        (jpeg(Image.new("RGB", (218, 178))), "000002.jpg is 218x178, not 178x218"),
    ],
)
def test_a_celeba_picture_that_is_missing_or_wrong_is_named(workspace, content, reason):
    write_celeba(**{"000002.jpg": content})
    with pytest.raises(UserError, match=rf"img_align_celeba\.zip is damaged \({reason}"):
        prepare.main("celeba")


@pytest.mark.parametrize("line", ["../000001.jpg 0", "000001.jpg", "000001.jpg 3", "", "<html>", "é"])
def test_a_damaged_celeba_list_is_one_clear_line(workspace, line):
    write_celeba()
    path = RAW / "celeba/list_eval_partition.txt"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(UserError, match=r"list_eval_partition\.txt is damaged \("):
        prepare.main("celeba")


def test_more_celeba_pictures_than_there_are_are_one_clear_line(workspace):
    write_celeba(count=4)
    with pytest.raises(UserError, match=r"celeba holds 4 pictures, not 5: lower data\.datasets\.celeba"):
        prepare.main("celeba")


def test_celeba_pictures_are_unpacked_one_at_a_time(workspace):
    write_celeba()
    pictures = official.read_celeba(RAW / "celeba", 7)
    assert next(pictures).size == (178, 218)
    Path("data/raw/celeba/img_align_celeba.zip").write_bytes(b"")
    with pytest.raises(UserError, match="damaged"):
        list(pictures)


# ---- all


@pytest.mark.parametrize("dataset", ["celeba", "mnistm", "svhn", "usps"])
def test_raw_files_that_are_missing_are_one_clear_line(workspace, dataset):
    with pytest.raises(UserError, match="is missing: run `dvc repro`, which fetches it"):
        prepare.main(dataset)
    assert not list(Path("data").glob("prepared/*"))


def test_nothing_is_ever_downloaded_or_unpickled(workspace, monkeypatch):
    write_svhn(monkeypatch)
    write_usps()
    write_mnist()
    write_bsds500()
    write_celeba()

    seen = []

    def refuse(event, arguments):
        if watching and event in ("pickle.find_class", "socket.connect", "socket.getaddrinfo"):
            seen.append(event)
            raise AssertionError(f"{event} {arguments}")

    watching = True
    sys.addaudithook(refuse)
    try:
        for dataset in ("celeba", "mnistm", "svhn", "usps"):
            prepare.main(dataset)
            assert Path(f"data/prepared/{dataset}.npz").is_file()
    finally:
        watching = False
    assert seen == []
