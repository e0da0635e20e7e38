"""What `--help` says of every command below stages/."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

from stages.runtime.stage import parser_of

ROOT = Path(__file__).resolve().parents[2]
# Those that parse their own words are left out.
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "stages").rglob("*.py")
    if re.search(r"^    +run(?:_stage)?\(main", path.read_text(), re.MULTILINE)
)


def test_every_stage_of_the_graph_is_among_them():
    assert set(re.findall(r"python -m (stages\.[\w.]+)", (ROOT / "dvc.yaml").read_text())) <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_help_explains_each_argument_and_shows_an_example(module):
    main = importlib.import_module(module).main
    parser = parser_of(main)
    assert all(action.help for action in parser._actions)
    examples = [line.split() for line in parser.description.splitlines() if f"python -m {module}" in line]
    assert examples
    # Each can be typed as it stands: its words are taken by the parser.
    typed = [words[3:] for words in examples if words[0] == "python" and "--list" not in words]
    assert all(parser.parse_args(words) for words in typed)
    assert typed or not inspect.signature(main).parameters
