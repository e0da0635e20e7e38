"""Colours that stand for different things stay different with any colour vision, on either ground."""

from itertools import combinations

import numpy as np
import pytest

from stages.report import colours
from stages.report.render import HTML

# Vienot, Brettel and Mollon 1999: linear RGB as it looks to people without the long- or the medium-wave cones.
VISION = {
    "all": np.eye(3),
    "protanopia": np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
    "deuteranopia": np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def seen(colour: str, vision: str) -> np.ndarray:
    """CIE L*a*b* of a colour as somebody of this vision has it."""
    coded = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    ratio = TO_XYZ @ np.clip(VISION[vision] @ linear, 0, 1) / TO_XYZ.sum(axis=1)
    root = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


def on_dark(colour: str) -> str:
    """What page.js takes in a colour's place on a dark ground."""
    script = (HTML / "page.js").read_text(encoding="utf-8")
    return script.split(f'"{colour}": "')[1][:7] if f'"{colour}": "' in script else colour


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("ground", [str, on_dark])
@pytest.mark.parametrize(
    "palette",
    [colours.METHODS.values(), colours.DOMAINS.values(), (colours.BLUE, colours.ORANGE)],
    ids=["methods", "domains", "pairs of lines"],
)
def test_colours_can_be_told_apart(palette, ground, vision):
    assert all(np.linalg.norm(seen(ground(a), vision) - seen(ground(b), vision)) > 20 for a, b in combinations(palette, 2))


@pytest.mark.parametrize(("vision", "least"), [("all", 24), ("protanopia", 18), ("deuteranopia", 18)])
def test_the_ten_classes_can_be_told_apart_on_white(vision, least):
    """Ten colours can't be as far apart as three: 18 is what Petroff's have."""
    assert all(np.linalg.norm(seen(a, vision) - seen(b, vision)) > least for a, b in combinations(colours.CLASSES, 2))


def test_the_class_colours_are_none_of_them_grey_but_the_near_black():
    chroma = [np.hypot(*seen(colour, "all")[1:]) for colour in colours.CLASSES]
    assert sorted(chroma)[1] > 20


def test_grey_and_green_could_not():
    assert np.linalg.norm(seen("#8b949e", "deuteranopia") - seen(colours.GREEN, "deuteranopia")) < 20
