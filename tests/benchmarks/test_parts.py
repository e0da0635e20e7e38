"""Where a step's time goes, as the benchmarks say it."""

import pytest

from benchmarks import common

NAMED = {"aten::mkldnn_convolution": 50.0, "fused_adam_": 20.0, "aten::max_pool2d": 15.0}


@pytest.fixture
def by_part(monkeypatch):
    """What is said of operations and their times, the longest first."""

    def said(**others):
        taken = NAMED | {f"aten::{name}": time for name, time in others.items()}
        monkeypatch.setattr(common, "operations", lambda step, count: dict(sorted(taken.items(), key=lambda one: -one[1])))
        return common.by_part(lambda: None, 1)

    return said


def test_the_largest_part_comes_first(by_part):
    parts = by_part(mul=10.0, addmm=5.0).split(", ")
    assert parts[:5] == [
        *("convolutions 50 %", "Adam 20 %", "batch norm and pooling 15 %"),
        *("everything else 10 %", "matrix products 5 %"),
    ]


def test_of_much_else_the_largest_three_operations_are_named(by_part):
    much = by_part(add=2.0, sigmoid=3.0, mul=6.0, sum=4.1)
    assert "everything else 15 %" in much and much.endswith("; of everything else most are mul 6 %, sum 4 %, sigmoid 3 %")
    assert "most are" not in by_part(add=2.0, sigmoid=3.0, mul=6.0, sum=4.0)
