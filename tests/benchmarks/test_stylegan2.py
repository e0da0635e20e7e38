"""What the benchmark of StyleGAN2's step times: the parts of a batch that a preset has, for the plain form and for ours."""

import re
from contextlib import contextmanager

import pytest

from benchmarks import stylegan2
from stages.runtime import params


@pytest.mark.parametrize(
    ("preset", "forms"),
    [("paper", ["fp32", "bf16", "fp32, in 6 parts", "bf16, in 6 parts"]), ("laptop", ["fp32", "bf16"])],
)
def test_ours_is_timed_whole_and_in_the_presets_parts(preset, forms):
    assert list(stylegan2.our_forms(params.load(f"presets/{preset}.yaml").stylegan2.train)) == forms


@contextmanager
def no_processes(arguments):
    """The same calls in this process."""
    yield {name: make(*rest) for name, (make, *rest) in arguments.items()}


def test_each_form_has_a_ratio_and_a_share_of_the_peak(monkeypatch, capsys):
    monkeypatch.setattr(stylegan2, "processes", no_processes)
    monkeypatch.setattr(stylegan2, "parts", lambda step: "profiled")
    made, training = [], stylegan2.our_training
    monkeypatch.setattr(stylegan2, "our_training", lambda *arguments: made.append(arguments[2:]) or training(*arguments))
    stylegan2.compare("smoke", 16, 1, 1, {"fp32": 1.0, "bf16": 1e15})
    said, forms = capsys.readouterr().out, ["fp32", "bf16", "fp32, in 2 parts", "bf16, in 2 parts"]
    assert re.findall(r"^  step in (.*): [\d.]+x", said, re.M) == forms
    assert re.findall(r"images/s; step in (.*): \d+ % of the measured peak", said) == forms
    assert made[:5] == [("fp32", 2), ("fp32", 1), ("bf16", 1), ("fp32", 2), ("bf16", 2)], "the plain form's, then ours"
    assert said.count("    penalised: ") == 2, "where time goes, of forms below half the peak alone"
