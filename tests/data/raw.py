"""Raw folders of the official data sets in the working folder, of small files in the publishers' own formats."""

import bz2
import gzip
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

RAW = Path("data/raw")


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
