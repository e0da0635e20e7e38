"""The whole graph gives the same bytes every time, on one machine."""

import pytest
import yaml

from tests.pipeline.clone import Clone

pytestmark = pytest.mark.slow
# It shows how long everything took.
EXEMPT = {"page"}


def hashes(clone: Clone) -> dict[tuple[str, str], str]:
    """The hash of everything that each stage reads and leaves, as dvc.lock records it."""
    stages = yaml.safe_load((clone.folder / "dvc.lock").read_text())["stages"]
    return {
        (name, entry["path"]): entry["md5"]
        for name, stage in stages.items()
        if name not in EXEMPT
        for entry in [*stage.get("deps", []), *stage["outs"]]
    }


def test_two_fresh_clones_build_the_same(tmp_path):
    first, second = Clone(tmp_path / "first"), Clone(tmp_path / "second")
    for clone in (first, second):
        clone.change("mean_style: sampled", "mean_style: tracked")
        clone.change("selection: last", "selection: target_entropy")
    ran = first.repro()
    assert second.repro() == ran
    one, other = hashes(first), hashes(second)
    assert {name for name, _ in one} == ran - EXEMPT
    assert [key for key in one.keys() | other.keys() if one.get(key) != other.get(key)] == []
