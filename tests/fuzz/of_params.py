"""params.yaml, as text and as what YAML makes of it."""

import copy
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from stages.runtime import params
from stages.runtime.errors import UserError
from tests.fuzz.harness import Target, damaged, written

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "presets/smoke.yaml").read_bytes()
SMOKE = yaml.safe_load(TEXT)

SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.integers(-2, 300) | st.floats() | st.text(max_size=12)
    | st.sampled_from(["orl", "mnistm", "syn", "mfeat", "dann", "dan", "fp32", "r1", "flip", "http://h", "/a", "1e-05"])
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda below: (
        st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=8) | st.sampled_from(["steps", "size"]), below, max_size=3)
    ),
    max_leaves=6,
)
YAML_PIECES = [
    "a: ",
    "- ",
    "? ",
    ": ",
    "&x ",
    "*x",
    "<<: ",
    "!!int ",
    "!!python/name:os.system ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "'",
    '"',
    "|\n",
    ">-\n",
]
YAML_PIECES += [
    "\n",
    "\n  ",
    "\t",
    "#",
    "---\n",
    "...\n",
    "%YAML 1.1\n",
    "~",
    "1e400",
    "0x1F",
    "\\x",
    "\ufeff",
    "9" * 50,
    "judge:\n",
    "  steps: 1\n",
]


@st.composite
def edited_presets(draw: st.DrawFn) -> Any:
    """The smoke preset with up to three values or keys changed, removed or added, anywhere."""
    content = copy.deepcopy(SMOKE)
    for _ in range(draw(st.integers(1, 3))):
        place: Any = content
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and place[key] and draw(st.integers(0, 5)):
                place = place[key]
                continue
            match draw(st.sampled_from(["set", "set", "set", "remove", "add"])):
                case "set":
                    place[key] = draw(VALUES)
                case "remove":
                    del place[key]
                case "add" if isinstance(place, dict):
                    place[draw(st.text(max_size=8) | st.just(f"{key}s"))] = draw(VALUES)
                case "add":
                    place.append(draw(VALUES))
            break
    return content


def read_params(folder: Path, content: bytes) -> Any:
    return params.load(written(folder, "params.yaml", content))


def one_line(error: Exception) -> None:
    assert str(error).isprintable(), f"{str(error)!r} is not one line"


def read_content(folder: Path, content: Any) -> Any:
    """Also: what is refused is refused in one printable line."""
    try:
        return params.validated(content)
    except UserError as error:
        one_line(error)
        raise


YAML_TEXTS = st.lists(st.sampled_from(YAML_PIECES), max_size=30).map(lambda pieces: "".join(pieces).encode())

TARGETS = [
    Target("params, edited", 3000, edited_presets(), read_content, start=SMOKE),
    Target("params, damaged text", 700, damaged([TEXT]), read_params, start=TEXT),
    Target("params, made-up text", 1000, YAML_TEXTS, read_params),
    Target("params, bytes", 300, st.binary(max_size=200), read_params),
]
