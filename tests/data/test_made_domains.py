"""The domains made here: MNIST-M's blend, and rendered house numbers."""

import hashlib
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from stages.data import mnistm, photos, syn
from stages.data.catalog import ENTRIES
from stages.runtime.seeding import numpy_generator

SHIPPED = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@pytest.fixture(scope="module")
def fonts():
    names = [Path(source.path).name for source in ENTRIES["syn"].sources["packaged"] if source.folder == "fonts"]
    return [syn._load_font(SHIPPED / name) for name in names]


@pytest.fixture(scope="module")
def walls():
    return [np.random.default_rng(0).integers(256, size=(90, 120, 3), dtype=np.uint8)]


def blended(*arguments):
    return np.concatenate(list(mnistm.blend(*arguments)))


def rendered(*arguments):
    images, labels = syn.render_all(*arguments)
    return np.concatenate(list(images.parts)), labels


def test_training_and_test_patches_come_from_disjoint_columns_that_make_up_the_photograph():
    photo = np.arange(20 * 30 * 3, dtype=np.uint32).astype(np.uint8).reshape(20, 30, 3)
    left, right = photos.part(photo, "train"), photos.part(photo, "test")
    assert np.array_equal(np.concatenate([left, right], axis=1), photo)
    assert right.shape[1] >= 7


def test_the_blend_is_the_absolute_difference_of_digit_and_patch_in_each_channel():
    generator = np.random.default_rng(0)
    digits = generator.integers(256, size=(50, 28, 28), dtype=np.uint8)
    plain = np.broadcast_to(np.array([200, 30, 90], np.uint8), (40, 50, 3))
    expected = np.abs(digits[..., None].astype(int) - [200, 30, 90])
    assert np.array_equal(blended(digits, [plain], generator), expected)


def test_black_digits_leave_whole_patches_from_all_over_all_photographs():
    columns, rows = np.meshgrid(np.arange(40), np.arange(35))
    pictures = [np.stack([rows, columns, np.full_like(rows, number)], axis=-1).astype(np.uint8) for number in (100, 200)]
    patches = blended(np.zeros((600, 28, 28), np.uint8), pictures, np.random.default_rng(0)).astype(int)
    top, left, number = patches[:, 0, 0].T
    assert (patches[..., 0] == top[:, None, None] + np.arange(28)[:, None]).all()
    assert (patches[..., 1] == left[:, None, None] + np.arange(28)).all()
    assert set(number) == {100, 200}
    assert set(top) == set(range(8)) and set(left) == set(range(13))


def test_the_blend_is_the_same_for_the_same_seed_and_another_for_another(walls):
    digits = np.zeros((20, 28, 28), np.uint8)
    first, again, other = (blended(digits, walls, numpy_generator("mnistm", seed)) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_the_blend_does_not_depend_on_the_blocks_in_which_it_is_made(walls, monkeypatch):
    digits = np.random.default_rng(0).integers(256, size=(50, 28, 28), dtype=np.uint8)
    whole = blended(digits, walls, numpy_generator("mnistm"))
    monkeypatch.setattr("stages.runtime.images.BLOCK_BYTES", 7 * 28 * 28 * 3)
    parts = list(mnistm.blend(digits, walls, numpy_generator("mnistm")))
    assert [len(part) for part in parts] == [7] * 7 + [1]
    assert np.array_equal(np.concatenate(parts), whole)


def test_every_font_has_ten_different_digits_of_one_height(fonts):
    for font in fonts:
        assert len({mask.tobytes() for mask in font.masks[0]}) == 10
        for mask in font.masks[0]:
            rows = np.flatnonzero(mask.max(axis=1) > 127)
            assert abs(rows[0] - syn.MARGIN) <= 3 and abs(rows[-1] + 1 - syn.MARGIN - syn.GLYPH) <= 3


def test_zeros_are_empty_inside(fonts):
    for font in fonts:
        zero = font.masks[0][0]
        middle = zero[zero.shape[0] // 2, np.flatnonzero(zero.max(axis=0) > 127)[0] :]
        centre = np.flatnonzero(middle > 127)[[0, -1]].mean()
        assert middle[round(centre)] < 50


def test_heavier_strokes_and_outlines_only_add_to_a_digit(fonts):
    for font in fonts:
        weights = np.stack([font.masks[weight][8] for weight in syn.WEIGHTS]).astype(int)
        assert (np.diff(weights.sum((1, 2))) > 0).all()


def test_the_labelled_digit_is_in_the_middle_of_its_number(fonts):
    font = fonts[0]
    strip, middle = syn._strip(np.array([1, 8, 0]), 1, 3, font.masks[0], font.advances)
    advances = font.advances
    assert middle == syn.MARGIN + advances[1] + 3 + advances[8] / 2
    alone, _ = syn._strip(np.array([8]), 0, 3, font.masks[0], font.advances)
    start = int(middle - alone.shape[1] / 2)
    inside = slice(syn.MARGIN, -syn.MARGIN)
    assert np.array_equal(strip[:, start : start + alone.shape[1]][:, inside], alone[:, inside])


def test_the_label_decides_which_digit_is_painted(fonts):
    for index in range(10):
        fills = [syn._number(digit, 64, 0, fonts[index], numpy_generator(index))[0] for digit in range(10)]
        centres = {fill[16:48, 20:44].tobytes() for fill in fills}
        assert len(centres) == 10


@pytest.mark.parametrize("luminance", [20.0, 128.0, 240.0])
def test_the_digits_luminance_is_apart_from_the_backgrounds(luminance):
    generator = np.random.default_rng(0)
    steps = np.array([abs(syn._apart(luminance, 45, generator) - luminance) for _ in range(500)])
    assert steps.min() >= 45
    assert steps.max() > 60


def test_where_no_luminance_is_that_far_the_farther_end_is_taken():
    generator = np.random.default_rng(0)
    assert syn._apart(140, 200, generator) == 10
    assert syn._apart(100, 200, generator) == 245


def test_colours_have_the_luminance_that_was_asked_for():
    generator = np.random.default_rng(0)
    for luminance in (10, 100, 200):
        colours = np.stack([syn._colour(generator, luminance) for _ in range(50)])
        assert np.allclose(colours @ syn.LUMA, luminance, rtol=1e-3)
        assert colours.std(axis=0).min() > luminance / 50


def test_house_numbers_are_bytes_of_the_size_asked_for_with_balanced_labels(fonts, walls):
    for side in (16, 28, 32):
        images, labels = rendered(40, side, fonts, walls, ("syn", "train", 0))
        assert images.shape == (40, side, side, 3) and images.dtype == np.uint8
        assert labels.dtype == np.int64 and np.bincount(labels).tolist() == [4] * 10
        assert len({image.tobytes() for image in images}) == 40
        assert images.std((1, 2, 3)).min() > 3


def test_house_numbers_depend_on_seed_and_index_alone(fonts, walls):
    digests = [
        hashlib.sha256(rendered(20, 28, fonts, walls, ("syn", "train", seed))[0].tobytes()).hexdigest() for seed in (0, 0, 1)
    ]
    assert digests[0] == digests[1] != digests[2]
    after_others, labels = rendered(20, 28, fonts, walls, ("syn", "train", 0))
    alone = syn.render(int(labels[7]), 28, fonts, walls, numpy_generator("syn", "train", 0, 7))
    assert np.array_equal(alone, after_others[7])


def test_the_digit_can_be_seen_against_its_background(fonts, walls):
    """The middle of the picture with the digit differs from the same picture painted without."""
    differences = []
    for index in range(60):
        pictures = []
        for visible in (1, 0):
            generator = numpy_generator("contrast", index)
            background = syn._background(64, 0, walls, generator)
            fill, outline = syn._number(8, 64, 0, fonts[index % len(fonts)], generator)
            pictures.append(syn._paint(background, fill * visible, outline * visible, generator))
        inside = fill[..., 0] > 0.9
        differences.append(np.abs((pictures[0] - pictures[1]) @ syn.LUMA)[inside].mean())
    assert np.quantile(differences, 0.05) > 25
