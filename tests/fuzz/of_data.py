"""The files that data sets arrive in, archives, and a user's own folder."""

import bz2
import gzip
import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from stages.data import archives, formats, import_folder, official, photos
from tests.fuzz.harness import Target, damaged, written
from tests.fuzz.pieces import PICKLE_PIECES, Attack, random_bytes


def pgm(width: int, height: int) -> bytes:
    return f"P5\n{width} {height}\n255\n".encode() + random_bytes(height, width).tobytes()


def encoded(format: str, mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(random_bytes(20, 24, 3)).convert(mode).save(file, format, **options)
    return file.getvalue()


PICTURES = [
    encoded("PNG"),
    encoded("JPEG"),
    encoded("PNG", "P"),
    encoded("PNG", "LA"),
    encoded("JPEG", "CMYK"),
    encoded("GIF", "P"),
    encoded("TIFF"),
]
PICTURES += [encoded("JPEG", exif=bytes.fromhex("45786966000049492a0008000000010012010300010000000600000000000000"))]


def mnist_pickle(dtype: str = "f4") -> bytes:
    part = (np.zeros((3, 784), dtype), np.arange(3))
    return pickle.dumps((part, part, part), protocol=3)


MNIST_PICKLES = [
    mnist_pickle(),
    mnist_pickle("f8"),
    mnist_pickle("O"),
    pickle.dumps(Attack()),
    pickle.dumps((np.zeros(3), Attack()), 2),
]


def read_mnist_pickle(folder: Path, content: bytes) -> Any:
    return formats.read_mnist(written(folder, "mnist.pkl.gz", gzip.compress(content, 1)))


def mfeat(lines: int) -> bytes:
    rows = np.hstack([random_bytes(lines, 240, below=7), np.arange(lines)[:, None] % 10])
    return "\n".join([",".join(map(str, range(241))), *(",".join(map(str, row)) for row in rows)]).encode()


IDX = {
    "images-idx3": struct.pack(">BBBBIII", 0, 0, 8, 3, 4, 28, 28) + random_bytes(4, 28, 28).tobytes(),
    "labels-idx1": struct.pack(">BBBBI", 0, 0, 8, 1, 4) + bytes([0, 9, 3, 4]),
}


def read_idx(folder: Path, case: tuple[str, bytes, bool]) -> Any:
    damaged_kind, content, inside = case
    for kind, good in IDX.items():
        packed = gzip.compress(content if kind == damaged_kind and inside else good, 1)
        written(folder, f"train-{kind}-ubyte.gz", content if kind == damaged_kind and not inside else packed)
    return official.read_mnist(folder, "train")


USPS = "\n".join(f"{label} " + " ".join(f"{n + 1}:{n % 3 - 1}.0" for n in range(256)) for label in (1, 10, 5)).encode()


def read_usps(folder: Path, case: tuple[bytes, bool]) -> Any:
    content, inside = case
    written(folder, "usps.bz2", bz2.compress(content) if inside else content)
    return official.read_usps(folder, "train")


def matlab(compressed: bool, **arrays: Any) -> bytes:
    file = io.BytesIO()
    savemat(file, arrays, do_compression=compressed)
    return file.getvalue()


SVHN = [matlab(packed, X=random_bytes(32, 32, 3, 2), y=np.array([[1], [10]], np.uint8)) for packed in (False, True)]
SVHN += [matlab(True, X=random_bytes(32, 32, 3, 2), y=np.array(["a", {"b": 1}], object)), matlab(False, X=1, y=2)]


def read_svhn(folder: Path, content: bytes) -> Any:
    written(folder, "train_32x32.mat", content)
    return official.read_svhn(folder, "train")


def celeba_list() -> bytes:
    return b"".join(b"%06d.jpg %d\n" % (number + 1, number % 3) for number in range(3))


def celeba_zip(pictures: list[bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number, picture in enumerate(pictures):
            archive.writestr(f"img_align_celeba/{number + 1:06d}.jpg", picture)
    return file.getvalue()


def celeba_picture(width: int = 178, height: int = 218) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(file, "JPEG")
    return file.getvalue()


CELEBA = celeba_zip([celeba_picture(), celeba_picture(), celeba_picture(100)])


def read_celeba(folder: Path, case: tuple[str, bytes]) -> Any:
    kind, content = case
    written(folder, "img_align_celeba.zip", content if kind == "archive" else CELEBA)
    written(folder, "list_eval_partition.txt", content if kind == "list" else celeba_list())
    return list(official.read_celeba(folder, 2))


def packed(names: list[str], kind: str) -> bytes:
    """An archive of members of these names; a name that starts with `->` is a link."""
    file = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                archive.writestr(zipfile.ZipInfo(name.removeprefix("->")), b"content")
    else:
        with tarfile.open(fileobj=file, mode="w:gz" if kind == "tgz" else "w") as archive:
            for name in names:
                info = tarfile.TarInfo(name.removeprefix("->"))
                info.size = 7
                if name.startswith("->"):
                    info.type, info.linkname, info.size = tarfile.SYMTYPE, "/etc/passwd", 0
                archive.addfile(info, io.BytesIO(b"content"))
    return file.getvalue()


PARTS = st.sampled_from(["root", "a", "b.txt", "..", ".", "", "/", "\\", "C:", "~", "\n", "ü", "a" * 300, "->root"]) | st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5
)
NAMES = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
ARCHIVES = [packed(["root/a.txt", "root/b/c.txt", "other"], kind) for kind in ("zip", "tar", "tgz")]


def unpack(folder: Path, content: bytes) -> Any:
    target = folder / "content"
    target.mkdir()
    beside = {path for path in folder.rglob("*")}
    try:
        return archives.unpack(written(folder, "archive", content), "root", "*", target)
    finally:
        strays = [
            path for path in folder.rglob("*") if path not in beside and target not in path.parents and path.name != "archive"
        ]
        assert not strays, f"unpacked beside the folder: {strays}"
        assert not [path for path in target.rglob("*") if path.is_symlink()]


def unpack_names(folder: Path, case: tuple[list[str], str]) -> Any:
    return unpack(folder, packed(*case))


CSV = "image_name,label\r\n" + "".join(f"{digit}.png,{digit}\r\n" for digit in range(3))
CSVS = [
    CSV.encode(),
    CSV.encode("utf-8-sig"),
    b"label,other,image_name\n2,,2.png\n0,x,0.png\n1,,1.png\n",
    CSV.encode("utf-16"),
]
CSV_CELLS = st.sampled_from(
    ["0.png", "1.png", "2.png", "image_name", "label", "0", "9", "10", "-1", "", " ", '"', "../0.png", "/etc/passwd", "\x00"]
)
CSV_TEXTS = st.lists(st.lists(CSV_CELLS | st.text(max_size=4), max_size=3).map(",".join), max_size=6).map(
    lambda rows: "\n".join(["image_name,label", *rows]).encode("utf-8", "surrogatepass")
)


def import_own(folder: Path, case: tuple[str, bytes]) -> Any:
    kind, content = case
    own = folder / "own"
    for split in ("train", "test"):
        for digit in range(3):
            written(own, f"{split}/{digit}.png", content if (kind, digit, split) == ("picture", 1, "test") else PICTURES[0])
        written(own, f"{split}.csv", content if (kind, split) == ("csv", "train") else CSVS[0])
    arrays = import_folder.decode(own, import_folder.list_all(own), 16)
    return {name: np.concatenate(list(array.parts)) if name.endswith("images") else array for name, array in arrays.items()}


def whole(arrays: dict[str, np.ndarray]) -> bool:
    return all(arrays[f"{split}_images"].shape == (len(arrays[f"{split}_labels"]), 28, 28, 3) for split in ("train", "test"))


def formed(*form: int) -> Callable[[Any], bool]:
    """Whether a value is uint8 images of this form with as many labels."""
    return lambda split: split[0].dtype == np.uint8 and split[0].shape[1:] == form and len(split[0]) == len(split[1])


def reading(name: str, read: Callable[[Path], Any]) -> Callable[[Path, bytes], Any]:
    """The reader, fed with a case in a file of this name."""
    return lambda folder, content: read(written(folder, name, content))


PICKLES = damaged(MNIST_PICKLES, 3) | st.lists(st.sampled_from(PICKLE_PIECES), max_size=14).map(
    lambda pieces: b"\x80\x02" + b"".join(pieces)
)
PGMS = [pgm(9, 12), pgm(9, 12).replace(b"\n", b"\r\n"), b"P5\r\n"]
MFEATS = [mfeat(3), b"\n", b"a\n1,2"]
IDX_CASES = st.sampled_from(list(IDX)).flatmap(
    lambda kind: st.tuples(st.just(kind), damaged([IDX[kind], gzip.compress(IDX[kind])]), st.booleans())
)
USPS_CASES = st.tuples(damaged([USPS, bz2.compress(USPS)]), st.booleans())
CELEBA_CASES = st.tuples(st.just("archive"), damaged([CELEBA])) | st.tuples(st.just("list"), damaged([celeba_list()]))
NAME_CASES = st.tuples(st.lists(NAMES, max_size=4), st.sampled_from(["zip", "tar", "tgz"]))
OWN_CASES = st.tuples(st.just("csv"), damaged(CSVS) | CSV_TEXTS) | st.tuples(st.just("picture"), damaged(PICTURES))

TARGETS = [
    Target("pgm", 800, damaged(PGMS), reading("1.pgm", formats.read_pgm), start=PGMS[0]),
    Target("photograph", 800, damaged(PICTURES), reading("photo.png", formats.read_photo), start=PICTURES[0]),
    Target("photographs", 100, damaged(PICTURES), reading("photos/1.png", lambda path: photos.load_photos(path.parent, "train"))),
    Target("mnist.pkl.gz", 300, damaged([gzip.compress(mnist_pickle())]), reading("mnist.pkl.gz", formats.read_mnist)),
    Target("mnist.pkl.gz, inside", 1000, PICKLES, read_mnist_pickle, start=MNIST_PICKLES[0]),
    Target("mfeat", 400, damaged(MFEATS), reading("mfeat.csv", formats.read_mfeat), formed(16, 15), MFEATS[0]),
    Target("idx.gz", 500, IDX_CASES, read_idx, formed(28, 28), ("labels-idx1", IDX["labels-idx1"], True)),
    Target("usps", 400, USPS_CASES, read_usps, formed(16, 16), (USPS, True)),
    # SciPy's reader of such files can take the whole process down, so that none but the publisher's bytes may ever reach it.
    Target("svhn", 200, damaged(SVHN), read_svhn, lambda value: False),
    Target("celeba", 400, CELEBA_CASES, read_celeba, start=("archive", CELEBA)),
    Target("archive", 600, damaged(ARCHIVES), unpack, start=ARCHIVES[2]),
    Target("archive's names", 600, NAME_CASES, unpack_names, start=(["root/a"], "tar")),
    Target("own folder", 500, OWN_CASES, import_own, whole, ("csv", CSVS[2])),
]
