"""What the benchmark of StyleGAN2's step times: the parts of a batch that a preset has, for the plain form and for ours."""

import re
from contextlib import contextmanager

import pytest

from benchmarks import stylegan2
from stages.generation.augment import OPERATIONS
from stages.runtime import params


@pytest.mark.parametrize(
    ("preset", "plain", "ours"),
    [
        ("paper", {"plain": 1, "plain, in 5 parts": 5}, ["fp32", "bf16", "fp32, in 6 parts", "bf16, in 6 parts"]),
        ("laptop", {"plain": 1}, ["fp32", "bf16"]),
    ],
)
def test_both_are_timed_whole_and_in_the_presets_parts(preset, plain, ours):
    settings = params.load(f"presets/{preset}.yaml").stylegan2.train
    assert stylegan2.plain_forms(settings) == plain
    assert list(stylegan2.our_forms(settings)) == ours


def test_ours_has_the_plain_forms_loss_and_penalty_and_the_presets_batch():
    chosen, paper = (params.load(f"presets/{preset}.yaml") for preset in ("laptop", "paper"))
    settings = stylegan2.our_training(chosen, 32, "fp32", 1).settings
    report = paper.stylegan2.train
    assert (settings.loss, settings.penalty, settings.penalty_weight) == (report.loss, report.penalty, report.penalty_weight)
    assert (settings.initial_contrast, settings.penalty_scaled) == (report.initial_contrast, report.penalty_scaled)
    assert (settings.batch_size, settings.penalty_interval) == (8, 16) != (report.batch_size, report.penalty_interval)


def test_whole_steps_are_timed_as_a_preset_trains():
    assert stylegan2.as_it_trains(params.load("presets/smoke.yaml"), 16) > 0


def test_both_augmentations_are_timed_with_all_operations_and_the_gradient(monkeypatch):
    given = []

    def noted(augmentation):
        return lambda images, how: given.append((images, how)) or augmentation(images, how)

    for name in ("transformed", "augment"):
        monkeypatch.setattr(stylegan2, name, noted(getattr(stylegan2, name)))
    forms = stylegan2.augmentations(4, 16)
    assert list(forms) == ["adaptive augmentation", "DiffAugment with all its operations"]
    for form in forms.values():
        form()
        images = given[-1][0]
        assert images.grad.shape == (4, 3, 16, 16) and images.grad.any()
        images.grad = None
    [(_, p), (_, operations)] = given
    assert 0 < p <= 1 and set(operations) == set(OPERATIONS)


@contextmanager
def no_processes(arguments):
    """The same calls in this process."""
    yield {name: make(*rest) for name, (make, *rest) in arguments.items()}


def test_each_form_has_a_ratio_and_a_share_of_the_peak(monkeypatch, capsys):
    monkeypatch.setattr(stylegan2, "processes", no_processes)
    monkeypatch.setattr(stylegan2, "elsewhere", lambda function, *given: function(*given))
    monkeypatch.setattr(stylegan2, "by_part", lambda step, count: "profiled")
    made, training = [], stylegan2.our_training
    monkeypatch.setattr(stylegan2, "our_training", lambda *arguments: made.append(arguments[2:]) or training(*arguments))
    stylegan2.compare("smoke", 16, 1, 1, {"fp32": 1.0, "bf16": 1e15})
    said, forms = capsys.readouterr().out, ["fp32", "bf16", "fp32, in 2 parts", "bf16, in 2 parts"]
    whole = [f"{form}, against plain" for form in forms[:2]]
    in_parts = [f"{form}, against plain, in 2 parts" for form in forms[2:]]
    assert re.findall(r"^  step in (.*): [\d.]+x", said, re.M) == [*whole, *in_parts]
    assert re.findall(r"images/s; step in (.*): \d+ % of the measured peak", said) == forms
    # Ours alone, whose operations are counted; then the plain form, which takes its images from ours, and ours, turn about.
    assert made[0] == made[1] == made[2] == ("fp32", 1) and made.index(("bf16", 2)) > made.index(("fp32", 2)) > made.index(
        ("bf16", 1)
    )
    assert said.count("    penalised: ") == 2, "where time goes, of forms below half the peak alone"
