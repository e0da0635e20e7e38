"""Synthetic house numbers, after the idea of Ganin and Lempitsky, "Unsupervised domain adaptation by backpropagation", ICML
2015 (Syn Numbers): digits in printed fonts as a tight crop of a photographed house number shows them.

A picture is a plate or wall (`_background`), a number of one to four digits with the labelled one in the middle (`_number`),
painted with outline, shadow and relief (`_paint`), under uneven light through a poor camera (`_photograph`).
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from stages.runtime.errors import UserError
from stages.runtime.images import Blocks
from stages.runtime.seeding import numpy_generator

# Pictures are painted at a multiple of the final size and then reduced.
OVERSAMPLING = 2
# Height of a digit and space around it in a glyph's mask; strokes may be thickened by 0 to len(WEIGHTS) - 1 pixels.
GLYPH, MARGIN = 40, 8
WEIGHTS = range(6)
OUTLINE = 2
# Of luminance, as the eye weighs red, green and blue.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Font:
    """Masks of the digits, uint8 (GLYPH + 2 MARGIN, advance + 2 MARGIN), by stroke weight and digit; the digits' advances."""

    masks: list[list[np.ndarray]]
    advances: list[int]


def load_fonts(folder: Path) -> list[Font]:
    """All fonts of a folder, by file name."""
    paths = sorted(folder.glob("*.ttf"))
    if not paths:
        raise UserError(f"{folder} holds no fonts: run `dvc repro`, which fetches them")
    return [_load_font(path) for path in paths]


def render_all(
    count: int, side: int, fonts: list[Font], photos: list[np.ndarray], seed: tuple[int | str, ...]
) -> tuple[Blocks, np.ndarray]:
    """`count` pictures (count, side, side, 3) and their labels int64 (count,), as many of every digit, in random order.

    Every picture has random numbers of its own, from `seed` and its index.
    """
    labels = numpy_generator(*seed, "labels").permutation(np.arange(count, dtype=np.int64) % 10)
    pictures = (
        render(int(label), side, fonts, photos, numpy_generator(*seed, index))[None] for index, label in enumerate(labels)
    )
    return Blocks((count, side, side, 3), pictures), labels


def render(digit: int, side: int, fonts: list[Font], photos: list[np.ndarray], generator: np.random.Generator) -> np.ndarray:
    """One picture of `digit`: uint8 (side, side, 3)."""
    canvas = side * OVERSAMPLING
    tilt = np.clip(generator.normal(0, 5), -14, 14)
    background = _background(canvas, tilt, photos, generator)
    fill, outline = _number(digit, canvas, tilt, fonts[generator.integers(len(fonts))], generator)
    return _photograph(_paint(background, fill, outline, generator), side, generator)


def _load_font(path: Path) -> Font:
    try:
        top = ImageFont.truetype(path, 200).getbbox("8", anchor="ls")[1]
        font = ImageFont.truetype(path, 200 * GLYPH / -top)
    except OSError as error:
        raise UserError(f"{path} is no readable font ({error}): delete its folder and fetch it again with `dvc repro`") from None
    advances = [round(font.getlength(str(digit))) for digit in range(10)]
    return Font([[_mask(font, digit, advances[digit], weight) for digit in range(10)] for weight in WEIGHTS], advances)


def _mask(font: ImageFont.FreeTypeFont, digit: int, advance: int, weight: int) -> np.ndarray:
    image = Image.new("L", (advance + 2 * MARGIN, GLYPH + 2 * MARGIN))
    ImageDraw.Draw(image).text((MARGIN, MARGIN + GLYPH), str(digit), fill=255, font=font, anchor="ls", stroke_width=weight)
    return np.asarray(image)


def _number(digit: int, side: int, tilt: float, font: Font, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the digits and of the digits with an outline, float32 (side, side, 1) in [0, 1], with `digit` in the middle."""
    length = generator.choice(4, p=(0.2, 0.3, 0.3, 0.2)) + 1
    digits = generator.integers(10, size=length)
    place = generator.integers(length)
    digits[place] = digit
    spacing = generator.integers(-1, 9)
    weight = generator.integers(len(WEIGHTS) - OUTLINE)

    height = side * generator.uniform(0.62, 0.92) / GLYPH
    matrix = _rotation(tilt) @ np.array([[1, generator.uniform(-0.15, 0.15)], [0, 1]])
    matrix = matrix @ np.diag([height * generator.uniform(0.8, 1.15), height])
    inverse = np.linalg.inv(matrix)
    centre = inverse @ (side / 2 + side * generator.uniform(-0.06, 0.06, 2))
    masks = []
    for thickness in (weight, weight + OUTLINE):
        strip, middle = _strip(digits, place, spacing, font.masks[thickness], font.advances)
        shift = np.array([middle, MARGIN + GLYPH / 2]) - centre
        affine = (*inverse[0], shift[0], *inverse[1], shift[1])
        mask = Image.fromarray(strip).transform((side, side), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
        masks.append(np.asarray(mask, np.float32)[..., None] / 255)
    return masks[0], masks[1]


def _strip(
    digits: np.ndarray, place: int, spacing: int, masks: list[np.ndarray], advances: list[int]
) -> tuple[np.ndarray, float]:
    """The digits side by side as one mask, and the column in which the middle of digit number `place` lies."""
    starts = np.concatenate([[0], np.cumsum([advances[digit] + spacing for digit in digits])])
    strip = np.zeros((GLYPH + 2 * MARGIN, starts[-1] - spacing + 2 * MARGIN), np.uint8)
    for start, digit in zip(starts, digits, strict=False):
        part = strip[:, start : start + masks[digit].shape[1]]
        np.maximum(part, masks[digit], out=part)
    return strip, MARGIN + starts[place] + advances[digits[place]] / 2


def _background(side: int, tilt: float, photos: list[np.ndarray], generator: np.random.Generator) -> np.ndarray:
    """A plate or wall, float32 (side, side, 3) around 0 to 255."""
    base = _colour(generator, generator.uniform(25, 235))
    texture = _texture(side, photos, generator)
    # Plates are nearly smooth, walls are not.
    roughness = generator.uniform(0, 0.15) if generator.random() < 0.6 else generator.uniform(0.2, 0.7)
    picture = base + roughness * texture + _gradient(side, generator) * generator.uniform(0, 40)
    if generator.random() < 0.4:
        angle = tilt + generator.choice([0, 90, 180, 270])
        beyond = _half_plane(side, angle, generator.uniform(0.36, 0.5))
        other = _colour(generator, generator.uniform(15, 240)) + generator.uniform(0, 0.6) * texture
        picture = picture + beyond * (other - picture)
    return picture


def _paint(background: np.ndarray, fill: np.ndarray, outline: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The number over the background, in a colour that can be told from it, with outline, shadow and relief as they come."""
    middle = background[len(background) // 5 : -len(background) // 5, len(background) // 5 : -len(background) // 5] @ LUMA
    behind, spread = float(middle.mean()), float(middle.std())
    least = max(45.0, 1.7 * spread)
    luminance = _apart(behind, least, generator)
    picture = background
    if generator.random() < 0.45:
        offset = generator.integers(-3, 4, 2)
        shadow = _blurred(_shifted(outline, offset), generator.uniform(0.5, 2.5))
        picture = picture * (1 - generator.uniform(0.2, 0.6) * shadow)
    if generator.random() < 0.2:
        around = _apart(luminance, 40, generator)
        picture = picture + outline * (_colour(generator, around) - picture)
    paint = _colour(generator, luminance) + _gradient(len(background), generator) * generator.uniform(0, 30)
    if generator.random() < 0.35:
        light = generator.integers(-2, 3, 2)
        paint = paint + generator.uniform(10, 60) * (fill - _shifted(fill, light))
    return picture + generator.uniform(0.8, 1) * fill * (paint - picture)


def _photograph(picture: np.ndarray, side: int, generator: np.random.Generator) -> np.ndarray:
    """The picture under uneven light, taken with few pixels and noise, and brought to (side, side, 3) uint8."""
    light = 1 + _gradient(len(picture), generator) * generator.uniform(0, 0.25)
    if generator.random() < 0.12:
        light = light * (
            1 - generator.uniform(0.25, 0.5) * _half_plane(len(picture), generator.uniform(0, 360), generator.uniform(-0.3, 0.3))
        )
    seen = Image.fromarray(_clipped(picture * light))
    pixels = round(side * generator.uniform(0.4, 1.0))
    coarse = np.asarray(seen.resize((pixels, pixels), Image.Resampling.BILINEAR), np.float32)
    noise = generator.standard_normal(coarse.shape, np.float32) * generator.uniform(0, 7)
    shown = Image.fromarray(_clipped(coarse + noise)).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(shown.filter(ImageFilter.GaussianBlur(generator.uniform(0, 0.7))))


def _colour(generator: np.random.Generator, luminance: float) -> np.ndarray:
    """A colour of this luminance (0 to 255), float32 (3,): mostly dull, often warm or blue, as walls, metal and plates are."""
    hue = generator.choice([generator.normal(0.09, 0.03), generator.normal(0.6, 0.05), generator.random()], p=(0.6, 0.25, 0.15))
    saturation = generator.beta(1, 3.5)
    wheel = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    tone = (1 - saturation) + saturation * wheel
    return (luminance * tone / (tone @ LUMA)).astype(np.float32)


def _apart(luminance: float, least: float, generator: np.random.Generator) -> float:
    """A luminance between 10 and 245 that differs from the given one by `least` or more; the farther end if none does."""
    below, above = max(luminance - least - 10, 0), max(245 - luminance - least, 0)
    draw = generator.random() * (below + above)
    if below + above == 0:
        return 10.0 if luminance > 127.5 else 245.0
    return 10 + draw if draw < below else 245 - (draw - below)


def _texture(side: int, photos: list[np.ndarray], generator: np.random.Generator) -> np.ndarray:
    """A patch of a photograph, at a random scale, without its mean: float32 (side, side, 3)."""
    photo = photos[generator.integers(len(photos))]
    span = int(min(photo.shape[0], photo.shape[1], side * generator.uniform(0.5, 3)))
    top, left = (int(generator.integers(length - span + 1)) for length in photo.shape[:2])
    patch = Image.fromarray(photo[top : top + span, left : left + span]).resize((side, side), Image.Resampling.BILINEAR)
    texture = np.asarray(patch, np.float32)
    return texture - texture.mean((0, 1))


def _gradient(side: int, generator: np.random.Generator) -> np.ndarray:
    """A slope in a random direction from about -1 to 1: float32 (side, side, 1)."""
    return np.clip(2 * _distance(side, generator.uniform(0, 360)), -1, 1)


def _half_plane(side: int, angle: float, offset: float) -> np.ndarray:
    """1 beyond a line `offset` (in sides) from the centre, 0 before it, smooth over a few pixels: float32 (side, side, 1)."""
    return np.clip((_distance(side, angle) - offset) * side / 1.5 + 0.5, 0, 1)


def _distance(side: int, angle: float) -> np.ndarray:
    """Distance from the centre in the direction of `angle` (degrees), in sides: float32 (side, side, 1)."""
    axis, radians = _axis(side), np.deg2rad(angle)
    return (axis * np.float32(np.cos(radians)) + axis[:, None] * np.float32(np.sin(radians)))[..., None]


@cache
def _axis(side: int) -> np.ndarray:
    return (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5


def _rotation(angle: float) -> np.ndarray:
    radians = np.deg2rad(angle)
    return np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])


def _shifted(mask: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """The mask (side, side, 1) moved by `offset` pixels down and right, its border repeated."""
    rows, columns = (np.arange(len(mask)) - offset[:, None]).clip(0, len(mask) - 1)
    return mask[rows][:, columns]


def _blurred(mask: np.ndarray, radius: float) -> np.ndarray:
    image = Image.fromarray(_clipped(mask[..., 0] * 255)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(image, np.float32)[..., None] / 255


def _clipped(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
