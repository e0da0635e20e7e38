"""CelebA, from a small archive and list in the publisher's own formats through `prepare.main`, and damaged ones."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.data import official, prepare
from stages.runtime.errors import UserError
from stages.runtime.images import load_arrays
from tests.data.raw import RAW, face, jpeg, write_celeba


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
