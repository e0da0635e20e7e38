"""Small files in the publishers' own formats, and the sources of those that a site serves in the publishers' place."""

import bz2
import gzip
import hashlib
import io
import tarfile
import zipfile

import numpy as np
import scipy.io
from PIL import Image

from stages.data.catalog import Download, Unpack
from tests.data.raw import idx

UNPACK = Unpack("BSR/BSDS500/data/images", "*/*.jpg", count=6, folder="bsds500")


def sha256(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def jpeg(width, height, grey):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (grey, grey, grey)).save(buffer, "JPEG")
    return buffer.getvalue()


def bsds500(extra=()):
    """A tgz like Berkeley's: pictures of three splits, and much else; `extra` are further TarInfos with their content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tarred:
        names = [f"images/{split}/{number}.jpg" for split in ("train", "val", "test") for number in (1, 2)]
        plain = [*names, "images/train/Thumbs.db", "groundTruth/train/1.mat"]
        members = [(tarfile.TarInfo(f"BSR/BSDS500/data/{name}"), jpeg(40, 30, 100)) for name in plain]
        for info, content in [*members, *extra]:
            info.size = len(content)
            tarred.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def svhn_mat():
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"X": np.full((32, 32, 3, 2), 50, np.uint8), "y": np.array([[10], [1]], np.uint8)})
    return buffer.getvalue()


def celeba_zip(count):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        for number in range(1, count + 1):
            zipped.writestr(f"img_align_celeba/{number:06d}.jpg", jpeg(178, 218, number))
    return buffer.getvalue()


def usps_text(count):
    pixels = " ".join(f"{number}:{number / 128 - 1:.4f}" for number in range(1, 257))
    return bz2.compress("".join(f"{number % 10 + 1} {pixels} \n" for number in range(count)).encode())


def published_files():
    """By name, small files in the forms of all that the official editions download."""
    images, labels = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28), np.array([3, 7], np.uint8)
    return {
        "train-images-idx3-ubyte.gz": gzip.compress(idx(images), mtime=0),
        "train-labels-idx1-ubyte.gz": gzip.compress(idx(labels), mtime=0),
        "t10k-images-idx3-ubyte.gz": gzip.compress(idx(images[:1]), mtime=0),
        "t10k-labels-idx1-ubyte.gz": gzip.compress(idx(labels[:1]), mtime=0),
        "BSR_bsds500.tgz": bsds500(),
        "train_32x32.mat": svhn_mat(),
        "test_32x32.mat": svhn_mat(),
        "usps.bz2": usps_text(3),
        "usps.t.bz2": usps_text(2),
        "img_align_celeba.zip": celeba_zip(50),
        "list_eval_partition.txt": b"".join(b"%06d.jpg 0\r\n" % number for number in range(1, 51)),
    }


def published(site, name, content, **fields):
    """The source of a file that the site serves."""
    site.pages[f"/{name}"] = content
    return Download(
        **{"addresses": (f"{site.address}/{name}",), "file": name, "size": None, "checksum": sha256(content)} | fields
    )


def names_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
