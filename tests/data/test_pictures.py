"""Pictures of every kind become RGB of one form."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from stages.data import pictures


def read(picture, **options):
    return pictures.read_rgb(written(picture, **options))


def written(picture, kind="PNG", **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    file.seek(0)
    return file


def gradient(low, high, dtype):
    return np.linspace(low, high, 12 * 9).astype(dtype).reshape(12, 9)


def test_rgb_and_grey_stay_as_they_are():
    colours = np.random.default_rng(0).integers(256, size=(12, 9, 3), dtype=np.uint8)
    assert np.array_equal(read(Image.fromarray(colours)), colours)
    grey = gradient(0, 255, np.uint8)
    assert np.array_equal(read(Image.fromarray(grey)), np.repeat(grey[..., None], 3, -1))


def test_16_bit_grey_is_scaled_and_not_cut_off():
    grey = gradient(0, 65535, np.uint16)
    seen = np.asarray(read(Image.fromarray(grey)))
    assert np.array_equal(seen[..., 0], np.rint(grey / 257)) and (seen == seen[..., :1]).all()


def test_black_and_white_and_palettes_show_their_colours():
    bits = gradient(0, 1.99, np.uint8).astype(bool)
    assert np.array_equal(np.asarray(read(Image.fromarray(bits)))[..., 1], bits * 255)
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((1, 0), 1)
    assert np.asarray(read(picture)).tolist() == [[[10, 20, 30], [40, 50, 60]]]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_what_is_transparent_is_white_whatever_lies_under_it(mode):
    picture = Image.new("RGBA", (2, 1), (0, 0, 0, 255))
    picture.putpixel((1, 0), (90, 90, 90, 0))
    options = {}
    if mode == "P":
        picture, options = Image.new("P", (2, 1)), {"transparency": 1}
        picture.putpalette([0, 0, 0, 90, 90, 90])
        picture.putpixel((1, 0), 1)
    elif mode in ("RGB", "L"):
        picture = picture.convert(mode)
        options = {"transparency": (90, 90, 90) if mode == "RGB" else 90}
    else:
        picture = picture.convert(mode)
    assert np.asarray(read(picture, **options)).tolist() == [[[0, 0, 0], [255, 255, 255]]]


def test_half_transparent_pixels_are_half_white():
    assert np.abs(np.asarray(read(Image.new("RGBA", (1, 1), (100, 0, 0, 128)))).ravel().astype(int) - [177, 127, 127]).max() <= 1


def test_cmyk_jpegs_show_their_colours():
    picture = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert np.abs(np.asarray(read(picture, kind="JPEG")).astype(int) - [255, 0, 0]).max() <= 5


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (-1, -1)), (6, (0, -1)), (8, (-1, 0))])
def test_pictures_are_turned_as_their_exif_says(orientation, corner):
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:16, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind in ("JPEG", "PNG"):
        seen = np.asarray(read(Image.fromarray(pixels), kind=kind, exif=exif))
        assert seen.shape[:2] == ((32, 48) if orientation in (1, 3) else (48, 32))
        assert [place for place in ((0, 0), (0, -1), (-1, 0), (-1, -1)) if seen[place].min() > 200] == [corner]


def png(width, height, content=b""):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(60000, 60000), (10000, 9500), (100000, 4), (1, 9460)])
def test_a_picture_of_so_many_pixels_that_it_could_fill_the_memory_is_refused_unread(size):
    with pytest.raises(ValueError, match="pixels"):
        pictures.read_rgb(io.BytesIO(png(*size)))


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM", "WEBP"])
def test_only_png_and_jpeg_are_read(kind):
    file = written(Image.new("RGB", (4, 4)), kind=kind)
    with pytest.raises(ValueError, match="no PNG or JPEG picture"):
        pictures.read_rgb(file)


def test_a_file_damaged_anywhere_is_read_or_a_value_error_with_a_reason():
    noise = Image.fromarray(np.random.default_rng(0).integers(256, size=(12, 9, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "words"
    wholes = [written(noise, kind=kind, exif=exif).getvalue() for kind in ("PNG", "JPEG")]
    wholes.append(written(noise.convert("P"), transparency=3).getvalue())
    generator, refused = np.random.default_rng(0), 0
    for whole in wholes:
        damaged = [whole[:length] for length in range(0, len(whole), 13)]
        for place in generator.integers(len(whole), size=200):
            damaged.append(whole[:place] + bytes([generator.integers(256)]) + whole[place + 1 :])
        for content in damaged:
            try:
                assert pictures.read_rgb(io.BytesIO(content)).mode == "RGB"
            except ValueError as error:
                assert str(error)
                refused += 1
    assert refused > 200


def test_a_centred_square_is_cut_and_resized_once():
    picture = Image.new("RGB", (50, 30), "red")
    picture.paste("blue", (10, 0, 40, 30))
    for side in (10, 30, 60):
        assert (pictures.centred_square(picture, side) == [0, 0, 255]).all(), "nothing from outside of the square"
    assert pictures.centred_square(picture.convert("L"), 8).shape == (8, 8)
    noise = Image.fromarray(np.random.default_rng(0).integers(256, size=(40, 40, 3), dtype=np.uint8))
    assert np.array_equal(pictures.centred_square(noise, 12), noise.resize((12, 12), Image.Resampling.BICUBIC))


def test_images_that_have_the_form_already_stay_as_they_are():
    images = np.random.default_rng(0).integers(256, size=(3, 28, 28, 3), dtype=np.uint8)
    assert np.array_equal(pictures.unify(images, 28), images)


def test_grey_and_oblong_images_are_repeated_padded_and_resized():
    tall = np.random.default_rng(0).integers(256, size=(2, 56, 28, 1), dtype=np.uint8)
    unified = pictures.unify(tall, 28)
    assert unified.shape == (2, 28, 28, 3) and (unified == unified[..., :1]).all()
    wide = np.zeros((1, 14, 28, 3), np.uint8)
    wide[:, 0], wide[:, -1] = 10, 20
    padded = pictures.unify(wide, 28)[0, :, 0, 0]
    assert padded.tolist() == [10] * 8 + [0] * 12 + [20] * 8


def test_reducing_is_antialiased():
    checks = (np.indices((56, 56)).sum(0) % 2 * 255).astype(np.uint8)
    reduced = pictures.unify(np.repeat(checks[None, ..., None], 3, axis=-1), 28)
    assert np.abs(reduced[:, 2:-2, 2:-2].astype(int) - 127).max() <= 3


def test_progress_gives_every_item_and_a_line_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr(pictures, "SECONDS_BETWEEN_LINES", 0)
    assert list(pictures.progress(iter("abc"), 3, "celeba")) == ["a", "b", "c"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and lines[-1].startswith("celeba: 2 of 3 pictures, ")
    monkeypatch.setattr(pictures, "SECONDS_BETWEEN_LINES", 60)
    assert list(pictures.progress(iter("abc"), 3, "celeba")) == ["a", "b", "c"]
    assert not capsys.readouterr().err
