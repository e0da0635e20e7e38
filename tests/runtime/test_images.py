import errno
import io
import mmap
import os
import zipfile

import numpy as np
import pytest

from stages.runtime import images
from stages.runtime.errors import UserError
from stages.runtime.files import CannotWrite
from stages.runtime.images import Blocks, load_arrays, load_digits, load_split, save_arrays


def pictures(count=4, side=28, dtype=np.uint8):
    return np.zeros((count, side, side, 3), dtype)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "arrays.npz"


def test_arrays_come_back_in_the_order_asked_for(path):
    save_arrays(path, train_images=pictures(), train_labels=np.arange(4), more=np.arange(3.0))
    more, labels = load_arrays(path, "more", "train_labels")
    assert more.tolist() == [0, 1, 2] and labels.tolist() == [0, 1, 2, 3]


def test_the_same_arrays_give_the_same_bytes(path, tmp_path):
    for name in ("arrays.npz", "again.npz"):
        save_arrays(tmp_path / name, images=pictures(), labels=np.arange(4))
    assert path.read_bytes() == (tmp_path / "again.npz").read_bytes()


@pytest.mark.parametrize("sizes", [[9], [1] * 9, [4, 5], [0, 9]])
def test_images_written_as_they_are_made_give_the_bytes_that_numpy_gives_for_the_whole(path, tmp_path, sizes):
    whole, labels = np.random.default_rng(0).integers(256, size=(9, 5, 4, 3), dtype=np.uint8), np.arange(9)
    parts = iter(np.split(whole, np.cumsum(sizes)[:-1]))
    save_arrays(path, images=Blocks(whole.shape, parts), labels=labels, figure=np.array(2.5))
    np.savez(tmp_path / "numpy.npz", images=whole, labels=labels, figure=np.array(2.5))
    assert path.read_bytes() == (tmp_path / "numpy.npz").read_bytes()


def test_images_are_made_no_earlier_than_they_are_written(path):
    written = []

    def parts():
        for _ in range(5):
            [half] = path.parent.iterdir()
            written.append(half.stat().st_size)
            yield pictures(100, 64)

    save_arrays(path, images=Blocks((500, 64, 64, 3), parts()))
    assert all(later - earlier > 10**6 for earlier, later in zip(written, written[1:], strict=False))


@pytest.mark.parametrize(
    "parts",
    [[], [pictures(3)], [pictures(3), pictures(2)], [pictures(4, 27)], [pictures(4, dtype=np.float32)]],
    ids=["none", "too few", "too many", "another size", "another type"],
)
def test_images_other_than_promised_are_not_written(path, parts):
    with pytest.raises(ValueError, match=r"images came, not 4|a part is"):
        save_arrays(path, images=Blocks((4, 28, 28, 3), parts))
    assert not list(path.parent.iterdir())


def test_blocks_cover_all_images_in_order_and_none_is_larger_than_the_memory_for_it(monkeypatch):
    monkeypatch.setattr(images, "BLOCK_BYTES", 1000)
    for count, shape in [(10, (5, 5, 3)), (30, (10, 10, 3)), (4, (40, 40, 3)), (0, (2, 2, 1))]:
        parts = list(images.in_blocks(count, shape))
        assert [number for part in parts for number in range(count)[part]] == list(range(count))
        assert all(part.stop - part.start == 1 or (part.stop - part.start) * np.prod(shape) <= 1000 for part in parts)


def test_a_scratch_array_leaves_no_file_even_while_it_is_used(tmp_path):
    array = images.scratch(tmp_path / "new", (3, 4), np.float32)
    array[1] = 7
    assert not list((tmp_path / "new").iterdir())
    assert array.tolist() == [[0] * 4, [7] * 4, [0] * 4] and array.dtype == np.float32


def test_a_scratch_array_for_which_there_is_no_room_is_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(CannotWrite, match=rf"temporary file of 96 bytes in {tmp_path} can't be written: .*free some space"):
        images.scratch(tmp_path, (3, 4), np.float64)


def test_features_are_read_as_a_memory_map_and_their_nan_found_in_any_block(path, monkeypatch):
    features = np.zeros((50, 4), np.float32)
    save_arrays(path, test_features=features)
    [read] = load_arrays(path, "test_features")
    assert isinstance(read.base, mmap.mmap) and not read.flags.writeable
    monkeypatch.setattr(images, "BLOCK_BYTES", 12)
    features[-1, -1] = np.nan
    save_arrays(path, test_features=features)
    with pytest.raises(UserError, match="test_features holds NaN"):
        load_arrays(path, "test_features")


def test_objects_are_not_written(path):
    with pytest.raises(ValueError, match="pickle"):
        save_arrays(path, things=np.array([{}], object))
    assert not path.exists()


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("images", pictures(0), "images is empty"),
        ("train_images", pictures(dtype=np.float32), "train_images must be uint8"),
        ("images", np.zeros((4, 28, 28), np.uint8), "must be uint8"),
        ("images", np.zeros((4, 28, 28, 2), np.uint8), "must be uint8"),
        ("labels", np.zeros(4, np.int32), "labels must be int64"),
        ("labels", np.zeros((4, 1), np.int64), "labels must be int64"),
        ("features", np.array([1, np.nan]), "features holds NaN or infinity"),
        ("features", np.array([1, -np.inf], np.float32), "features holds NaN or infinity"),
        ("others", np.zeros(1), "has no array 'asked'"),
    ],
)
def test_an_array_of_another_form_is_refused_by_name(path, name, array, words):
    np.savez(path, **{name: array})
    with pytest.raises(UserError, match=f"^{path}.*{words}"):
        load_arrays(path, "asked" if name == "others" else name)


def compressed() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, images=np.random.default_rng(0).integers(0, 9, (4, 28, 28, 3)).astype(np.uint8))
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        compressed()[:300],
        compressed()[:100] + bytes(50) + compressed()[150:],
        compressed()[-200:],
        b"PK\x05\x06" + bytes(18),
    ],
    ids=["empty", "text", "truncated", "overwritten", "headless", "no members"],
)
def test_a_damaged_file_is_one_line_with_its_name(path, content):
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"^{path} ") as raised:
        load_arrays(path, "images")
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '|O', 'fortran_order': False, 'shape': (4,), }",
        "(" * 300,
        "{'descr': '|u1', 'fortran_order': False, 'shape': (10**9, 10**9), }",
        "__import__('os').abort()",
    ],
    ids=["objects", "nested", "code as a shape", "code"],
)
def test_a_hostile_header_is_refused(path, header):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(99))
    with pytest.raises(UserError, match=f"^{path} "):
        load_arrays(path, "images")


def test_an_array_that_would_fill_the_memory_is_refused(path):
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**50}, 1, 1, 3), }}"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    with pytest.raises(UserError, match=f"^{path} "):
        load_arrays(path, "images")


def test_as_many_labels_as_images_make_a_split(path):
    save_arrays(path, test_images=pictures(), test_labels=np.arange(3))
    with pytest.raises(UserError, match="4 images but 3 labels"):
        load_split(path, "test")


@pytest.mark.parametrize(("side", "label"), [(28, -1), (28, 10), (32, 3), (27, 3)])
def test_digits_have_one_size_and_ten_labels(path, side, label):
    save_arrays(path, test_images=pictures(2, side), test_labels=np.array([0, label]))
    with pytest.raises(UserError, match="digits are 28x28x3, not|digits have labels 0 to 9, not"):
        load_digits(path, "test")


def test_images_are_mapped_from_the_file_and_can_not_be_written(path):
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 6, 3), dtype=np.uint8)
    save_arrays(path, other_images=pictures(), train_images=images, train_labels=np.arange(5))
    mapped, labels = load_split(path, "train")
    np.testing.assert_array_equal(mapped, images)
    assert isinstance(mapped.base, mmap.mmap) and not mapped.flags.writeable
    assert labels.flags.writeable


def test_images_of_a_compressed_file_are_read_as_well(path):
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 6, 3), dtype=np.uint8)
    np.savez_compressed(path, images=images)
    np.testing.assert_array_equal(load_arrays(path, "images")[0], images)


def test_images_stored_column_by_column_are_mapped_as_they_are(path):
    images = np.asfortranarray(np.random.default_rng(0).integers(0, 256, (5, 8, 6, 3), dtype=np.uint8))
    np.savez(path, images=images)
    (mapped,) = load_arrays(path, "images")
    np.testing.assert_array_equal(mapped, images)
    assert isinstance(mapped.base, mmap.mmap)


@pytest.mark.parametrize("change", [-1, 1, 4 * 28 * 28 * 3])
def test_a_header_that_does_not_fit_its_bytes_is_refused(path, change):
    file = io.BytesIO()
    np.save(file, pictures())
    content = file.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", content[:change] if change < 0 else content + bytes(change))
    with pytest.raises(UserError, match=f"^{path} is damaged"):
        load_arrays(path, "images")


def test_a_member_that_reaches_beyond_the_end_of_the_file_is_refused(path):
    save_arrays(path, images=pictures())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("images.npy")
        info.file_size = info.compress_size = info.file_size + 28 * 28 * 3
    content, directory = path.read_bytes(), io.BytesIO()
    size = content.index(b"PK\x01\x02")
    header = bytearray(content[size:])
    header[20:24] = header[24:28] = info.file_size.to_bytes(4, "little")
    array = content[:size].replace(b"(4, 28, 28, 3)", b"(5, 28, 28, 3)")
    directory.write(array + header)
    path.write_bytes(directory.getvalue())
    with pytest.raises(UserError, match=f"^{path} is damaged"):
        load_arrays(path, "images")
