"""The check of a user's GPU, on the CPU at toy size: whatever in it does not need a GPU."""

import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import gpu_check
from benchmarks.paper_trainers import BEST, PAPER, others_of_best, trainers, trainers_of_best
from stages.runtime import params

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def paper():
    return params.load(ROOT / PAPER)


@pytest.fixture(scope="module")
def toys(paper):
    best = others_of_best(params.load(ROOT / BEST), toy=True)
    return {one.name: one for one in [*trainers(paper, toy=True), *best]}


PAPERS = ["StyleGAN2", "ACGAN", "judge", "source_only", "source_only, jitter", "dann", "dsn", "target_only"]
BESTS = ["StyleGAN2 of best", "ACGAN of best", "source_only, strong of best", "mean_teacher of best"]
NAMES = [*PAPERS, *BESTS]
# Of a GPU's kernels these have no deterministic form: torch.use_deterministic_algorithms makes an error of them. That of
# bilinear enlargement is left out, since F.interpolate does without it there.
REFUSED = {
    *("grid_sampler_2d_backward", "reflection_pad2d_backward", "_adaptive_avg_pool2d_backward", "adaptive_max_pool2d_backward"),
    *("nll_loss2d_forward", "histc", "put_"),
}
CHECKS = [gpu_check.agrees, gpu_check.bf16, gpu_check.repeats, gpu_check.resumes]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_every_trainer_passes_what_a_cpu_can_check(check, name, toys, paper):
    check(toys[name], CPU, paper.training)


def test_all_trainers_of_both_presets_are_there(toys):
    assert list(toys) == NAMES


def test_self_ensembling_learns_from_target_and_adaptive_augmentation_is_at_work(toys, paper):
    found = gpu_check.losses(toys["mean_teacher of best"], CPU, "fp32", paper.training)
    assert min(found["confident_share"]) == 1 and min(found["consistency_loss"]) > 0
    assert min(gpu_check.losses(toys["StyleGAN2 of best"], CPU, "fp32", paper.training)["ada_p"]) > 0.4


def test_streamed_images_are_the_resident_ones():
    assert "streamed ones are the same" in gpu_check.resident_images(CPU, 50)


@pytest.mark.parametrize("check", [gpu_check.repeats, gpu_check.resumes])
@pytest.mark.parametrize("fails", [False, True])
def test_deterministic_algorithms_are_on_while_bits_are_compared_and_off_again(check, fails, toys, paper):
    seen = []

    def make(*arguments):
        seen.append(torch.are_deterministic_algorithms_enabled())
        if fails:
            raise RuntimeError("no such kernel")
        return toys["judge"].make(*arguments)

    with pytest.raises(RuntimeError, match="no such kernel") if fails else nullcontext():
        check(replace(toys["judge"], make=make), CPU, paper.training)
    assert seen and all(seen) and not torch.are_deterministic_algorithms_enabled()


class Operations(TorchDispatchMode):
    """The names of all operations that run inside it, of backward passes too."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.names.add(function.overloadpacket.__name__)
        return function(*arguments, **(options or {}))


@pytest.mark.parametrize("name", NAMES)
def test_deterministic_steps_need_no_kernel_that_a_gpu_would_refuse(name, toys, paper):
    with gpu_check.deterministic(paper.training, CPU), Operations() as used:
        gpu_check.state_after(toys[name], CPU, paper.training)
    assert "convolution_backward" in used.names and not used.names & REFUSED


def test_waiting_is_checked_on_a_gpu_alone(toys, paper):
    with pytest.raises(gpu_check.Skip, match="only a GPU"):
        gpu_check.never_waits(toys["judge"], CPU, paper.training)


def test_losses_that_differ_fail_and_so_does_what_is_no_number():
    assert "at most 0.01" in gpu_check.near({"loss": [2.02]}, {"loss": [2.0]}, 0.02)
    with pytest.raises(gpu_check.Failed, match=r"differs by 0.05 \(loss\)"):
        gpu_check.near({"loss": [2.1], "penalty": [1.0]}, {"loss": [2.0], "penalty": [1.0]}, 0.02)
    with pytest.raises(gpu_check.Failed, match="nan"):
        gpu_check.near({"loss": [float("nan")]}, {"loss": [2.0]}, 0.02)


def test_a_check_that_raises_fails_in_one_line_and_the_others_go_on(capsys):
    def broken():
        raise RuntimeError("no kernel\nwith a long story")

    def skipped():
        raise gpu_check.Skip("no reason")

    assert [gpu_check.report("a", broken), gpu_check.report("b", lambda: "fine"), gpu_check.report("c", skipped)] == [1, 0, 0]
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["FAIL  a: RuntimeError: no kernel", "pass  b: fine", "-     c: not checked, no reason"]


def test_the_telling_steps_of_stylegan2_have_penalty_and_path_length(toys, paper):
    found = gpu_check.losses(toys["StyleGAN2"], CPU, "fp32", paper.training)
    assert len(found["penalty"]) >= 1 and len(found["path_length"]) == 2


def test_the_preset_s_hours_are_its_runs_times_steps_times_a_step(paper):
    all_trainers = trainers(paper)
    assert {one.name: one.runs for one in all_trainers} == dict(
        StyleGAN2=1, ACGAN=3, judge=1, source_only=6, dann=9, dsn=9, target_only=9
    ) | {"source_only, jitter": 3}
    text = gpu_check.projection("paper", all_trainers, {one.name: gpu_check.Speed(0.036, 0) for one in all_trainers})
    assert "StyleGAN2: 1 x 66000 steps in fp32, 0.7 h" in text and "dsn: 9 x 29000 steps in fp32, 2.6 h" in text
    steps = 66_000 + 3 * 24_375 + 10_000 + 9 * (3 * 14_000 + 29_000)
    assert text.endswith(f"all: {steps * 0.036 / 3600:.1f} h")


def test_the_hours_of_best_are_those_of_its_own_batches_precision_and_steps(paper):
    best = params.load(ROOT / BEST)
    bests = trainers_of_best(best)
    names = ["StyleGAN2", "ACGAN", "judge", "source_only", "source_only, strong", "dann", "dsn", "mean_teacher", "target_only"]
    assert {one.name: one.runs for one in bests} == {
        f"{name} of best": runs for name, runs in zip(names, [1, 3, 1, 6, 3, 9, 9, 9, 9], strict=True)
    }
    dann, batch = next(one for one in bests if one.name == "dann of best"), best.adaptation.common.batch_size
    assert (dann.images, dann.precision) == (2 * batch, "bf16") and batch != paper.adaptation.common.batch_size
    assert len(dann.make(CPU, "fp32", best.training).batches.target.at(1)[0]) == batch
    # Both are timed with the one section.
    assert best.training == paper.training
    text = gpu_check.projection("best", bests, {one.name: gpu_check.Speed(0.036, 0) for one in bests})
    assert "preset best" in text and "mean_teacher of best: 9 x 70000 steps in bf16, 6.3 h" in text
    steps = 200_000 + 3 * 93_750 + 10_000 + 9 * (3 * 14_000 + 29_000 + 70_000)
    assert text.endswith(f"all: {steps * 0.036 / 3600:.1f} h")


def test_without_a_gpu_it_ends_with_one_line():
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_check"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1 and done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert "no GPU that PyTorch can use" in done.stderr


@pytest.mark.slow
def test_the_whole_script_runs_on_the_cpu_at_toy_size(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert gpu_check.check(CPU, toy=True) == 0
    said = capsys.readouterr().out
    assert "FAIL" not in said and said.count("pass  ") == 1 + 4 * len(NAMES)
    assert "| StyleGAN2 | bf16 |" in said and "| dann of best | fp32 |" in said
    assert said.count("Trainings of the preset ") == said.count("  all: ") == 2 and "all: " in said.splitlines()[-1]


@pytest.mark.slow
def test_a_compiled_step_agrees_with_the_others(toys, paper):
    assert "apart" in gpu_check.compiles(toys["judge"], CPU, paper.training)
