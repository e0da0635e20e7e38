"""The laptop preset with some keys changed."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
EMPTY = object()


@pytest.fixture
def edited(tmp_path):
    """A function that writes the laptop preset with some dotted keys changed, and returns its path."""

    def write(**changes):
        content = yaml.safe_load((ROOT / "presets/laptop.yaml").read_text())
        for key, value in changes.items():
            *groups, last = key.split("__")
            place = content
            for group in groups:
                place = place[group]
            if value is None:
                del place[last]
            else:
                place[last] = None if value is EMPTY else value
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write
