"""Does everything work on this machine's GPU, how fast, and how long would `paper` and `best` take? Some minutes.

Every trainer runs with the paper preset's settings on images of noise, and so do those that the preset `best` has otherwise:
StyleGAN2 with adaptive augmentation, ACGAN with its settings, self-ensembling, painted digits. The others of `best` are timed
alone, in its larger batches. Ends with exit code 1 where a check fails or there is no GPU.
"""

import argparse
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import machine
from benchmarks.paper_trainers import BEST, PAPER, Trainer, digits, others_of_best, trainers, trainers_of_best
from stages.runtime import parallel, params, training
from stages.runtime.batches import Feed
from stages.runtime.resume import ResumeState
from stages.runtime.schema import Training
from stages.runtime.seeding import seed_step

# Losses on GPU and CPU may differ by so much, in fp32 and with bfloat16's eight bits.
FP32, BF16 = 0.02, 0.1
SIZES = {"images": 20_000}


class Skip(Exception):
    """Why something can't be checked on this device."""


class Failed(Exception):
    """What does not hold."""


@dataclass
class Speed:
    """What a trainer's steps take: seconds, and the most bytes on the device (0: not known)."""

    seconds: float
    peak: int


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, ...; cpu tries this script itself")
    parser.add_argument("--toy", action="store_true", help="tiny networks and batches; no figure of it says anything")
    arguments = parser.parse_args()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("error: no GPU that PyTorch can use was found; `--device cpu --toy` tries the script itself")
    # Asked for by deterministic algorithms, and read when the GPU is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    print(machine())
    began = time.monotonic()
    failed = check(torch.device(arguments.device), toy=arguments.toy)
    print(f"checked in {(time.monotonic() - began) / 60:.1f} minutes")
    sys.exit(f"error: {failed} checks failed" if failed else 0)


def check(place: torch.device, *, toy: bool = False) -> int:
    """Print every check with its result, then speeds and both presets' hours; returns how many checks failed."""
    paper, best = params.load(PAPER), params.load(BEST)
    section = paper.training
    papers, bests = trainers(paper, toy=toy), trainers_of_best(best, toy=toy)
    parallel.start(section)
    failed = report("training images on the device", lambda: resident_images(place, 200 if toy else SIZES["images"]))
    for one in [*papers, *others_of_best(best, toy=toy)]:
        failed += report(f"{one.name}: same losses as on the CPU", lambda one=one: agrees(one, place, section))
        failed += report(f"{one.name}: bf16", lambda one=one: bf16(one, place, section))
        failed += report(f"{one.name}: same bits twice (deterministic)", lambda one=one: repeats(one, place, section))
        failed += report(f"{one.name}: interrupted and gone on", lambda one=one: resumes(one, place, section))
        failed += report(f"{one.name}: no waiting for the device", lambda one=one: never_waits(one, place, section))
        # Compiling takes as long for toys, and is tried on one of them elsewhere.
        if not toy:
            failed += report(f"{one.name}: torch.compile", lambda one=one: compiles(one, place, section))
    speeds = {}
    for one in [*papers, *bests]:
        for precision in ("fp32", "bf16"):
            speeds[one.name, precision] = speed(one, place, precision, section)
    print(table([*papers, *bests], speeds))
    for preset, chosen in (("paper", papers), ("best", bests)):
        print(projection(preset, chosen, {one.name: speeds[one.name, one.precision] for one in chosen}))
    return failed


def report(name: str, function: Callable[[], str]) -> int:
    """Run a check and print its line; returns 1 if it failed, whatever the reason."""
    try:
        line, failed = f"pass  {name}: {function()}", 0
    except Skip as reason:
        line, failed = f"-     {name}: not checked, {reason}", 0
    except Exception as error:  # a kernel that is missing, memory, anything: the other checks go on
        first = (str(error).strip().splitlines() or [""])[0]
        line, failed = f"FAIL  {name}: {first if isinstance(error, Failed) else f'{type(error).__name__}: {first}'}", 1
    print(line, flush=True)
    return failed


def resident_images(place: torch.device, count: int) -> str:
    """Images on the device take their own bytes; streamed ones are the same and stay off it."""
    images, _ = digits(count, 64)
    before = allocated(place)
    resident = feed(images, place, resident_gb=1e6)
    taken = allocated(place) - before
    streamed = feed(images, place, resident_gb=0.0)
    for step in (1, 2, 3):
        for one, other in zip(resident.at(step), streamed.at(step), strict=True):
            if not torch.equal(one, other):
                raise Failed(f"streamed images of step {step} are others than resident ones")
    if place.type == "cuda" and not images.nbytes <= taken <= 1.05 * images.nbytes + 4e6:
        raise Failed(f"{images.nbytes / 1e6:.0f} MB of images take {taken / 1e6:.0f} MB")
    return f"{images.nbytes / 1e6:.0f} MB of images; streamed ones are the same"


def feed(images: np.ndarray, place: torch.device, resident_gb: float) -> Feed:
    return Feed(images, 32, seed=0, name="check", place=place, resident_gb=resident_gb)


def agrees(one: Trainer, place: torch.device, section: Training) -> str:
    """Losses of the telling steps, all random numbers being the CPU's."""
    with drawn_on_cpu():
        expected = losses(one, torch.device("cpu"), "fp32", section)
        return near(losses(one, place, "fp32", section), expected, FP32)


def bf16(one: Trainer, place: torch.device, section: Training) -> str:
    """The first step's losses in bfloat16 are those of fp32, as far as eight bits go."""
    with drawn_on_cpu():
        first = losses(one, place, "fp32", section, one.telling[:1])
        return near(losses(one, place, "bf16", section, one.telling[:1]), first, BF16)


def repeats(one: Trainer, place: torch.device, section: Training) -> str:
    """Two trainings with `deterministic` end with the same bits."""
    with deterministic(section, place):
        weights = [state_after(one, place, section) for _ in range(2)]
    different = [name for name, tensor in weights[0].items() if not torch.equal(tensor, weights[1][name])]
    if different:
        raise Failed(f"{different[0]} and {len(different) - 1} more differ")
    return f"{len(weights[0])} tensors after {len(one.telling)} steps"


def resumes(one: Trainer, place: torch.device, section: Training) -> str:
    """A training that goes on from a saved state ends with the bits of one that was never stopped."""

    def run(name: str, steps: int) -> dict[str, Tensor]:
        model = one.make(place, "fp32", section)
        state = ResumeState(name, {}, [])
        options = {"seed": 0, "images_per_step": 1, "snapshots": 0, "records": 1}
        training.train(model, run=name, steps=steps, state=state, save_every_seconds=0.0, **options)
        state.release()
        return {key: tensor.clone() for key, tensor in model.state_dict().items()}

    said = io.StringIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.dict(os.environ, RESUME_DIR=folder),
        deterministic(section, place),
        redirect_stderr(said),
    ):
        # All but the last step of a training are saved: the second call finds step 2 of 3.
        run("stopped", 3)
        resumed, straight = run("stopped", 4), run("straight", 4)
    if "goes on from step 2" not in said.getvalue():
        raise Failed("the saved state was not found")
    different = [name for name, tensor in resumed.items() if not torch.equal(tensor, straight[name])]
    if different:
        raise Failed(f"{different[0]} and {len(different) - 1} more differ")
    return "same bits"


def never_waits(one: Trainer, place: torch.device, section: Training) -> str:
    """No step makes the processor wait for the GPU."""
    if place.type != "cuda":
        raise Skip("only a GPU is waited for")
    model = one.make(place, one.precision, section)
    update(model, one.telling)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        update(model, one.telling)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return f"steps {', '.join(map(str, one.telling))}"


def compiles(one: Trainer, place: torch.device, section: Training) -> str:
    """Compiled steps have the losses of the others."""
    compiled = section.model_copy(update={"compile": True})
    with drawn_on_cpu():
        expected = losses(one, place, "fp32", section)
        return near(losses(one, place, "fp32", compiled), expected, FP32)


def speed(one: Trainer, place: torch.device, precision: str, section: Training) -> Speed:
    """Seconds a step, averaged over the timed ones, after a warm-up."""
    model = one.make(place, precision, section)
    update(model, one.telling)
    update(model, tuple(one.timed)[:8])
    if place.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats(place)
    began = time.perf_counter()
    update(model, tuple(one.timed))
    if place.type == "cuda":
        torch.cuda.synchronize()
    seconds = (time.perf_counter() - began) / len(one.timed)
    return Speed(seconds, torch.cuda.max_memory_allocated(place) if place.type == "cuda" else 0)


def table(all_trainers: list[Trainer], speeds: dict[tuple[str, str], Speed]) -> str:
    """Speeds as a Markdown table."""
    lines = ["", "| trainer | precision | a step | images/s | peak memory |", "|---|---|---|---|---|"]
    for one in all_trainers:
        for precision in ("fp32", "bf16"):
            found = speeds[one.name, precision]
            peak = f"{found.peak / 1e9:.2f} GB" if found.peak else "–"
            rate = one.images / found.seconds
            lines.append(f"| {one.name} | {precision} | {1000 * found.seconds:.1f} ms | {rate:.0f} | {peak} |")
    return "\n".join(lines)


def projection(preset: str, all_trainers: list[Trainer], speeds: dict[str, Speed]) -> str:
    """The hours that a preset's trainings would take, one after the other, at these speeds."""
    hours = {one.name: one.steps * one.runs * speeds[one.name].seconds / 3600 for one in all_trainers}
    lines = ["", f"Trainings of the preset {preset} here, one after the other. On top come scores, samples, data, and the"]
    lines.append("augmentation of source images, with which only source_only is timed:")
    for one in all_trainers:
        lines.append(f"  {one.name}: {one.runs} x {one.steps} steps in {one.precision}, {hours[one.name]:.1f} h")
    return "\n".join([*lines, f"  all: {sum(hours.values()):.1f} h"])


def losses(
    one: Trainer, place: torch.device, precision: str, section: Training, steps: tuple[int, ...] = ()
) -> dict[str, list[float]]:
    """What the trainer records at the telling steps, by name."""
    model = one.make(place, precision, section)
    # Its own random numbers are the device's, which no two kinds of device share.
    for module in model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0
    found: dict[str, list[float]] = {}
    for values in update(model, steps or one.telling):
        for name, value in values.items():
            found.setdefault(name, []).append(float(value))
    # These count scores on one side of a limit, which a rounding may cross.
    return {name: numbers for name, numbers in found.items() if "accuracy" not in name and name != "ada_sign"}


def state_after(one: Trainer, place: torch.device, section: Training) -> dict[str, Tensor]:
    """All weights and buffers after the telling steps."""
    model = one.make(place, one.precision, section)
    update(model, one.telling)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def update(model: training.Trainable, steps: tuple[int, ...]) -> list[dict[str, Tensor]]:
    """Do these steps as the training loop does them."""
    recorded = []
    for step in steps:
        seed_step(0, step)
        recorded.append(model.update(step))
    return recorded


def near(found: dict[str, list[float]], expected: dict[str, list[float]], tolerance: float) -> str:
    """The largest difference, relative to 1 or the value; Failed beyond `tolerance`, or where something is no number."""
    worst, where = 0.0, ""
    for name, numbers in expected.items():
        for number, other in zip(found[name], numbers, strict=True):
            difference = abs(number - other) / max(1.0, abs(other))
            if not difference <= worst:
                worst, where = difference, f" ({name})"
    if not worst <= tolerance:
        raise Failed(f"differs by {worst:.2g}{where}, more than {tolerance}")
    return f"at most {worst:.2g} apart{where}"


def allocated(place: torch.device) -> int:
    return torch.cuda.memory_allocated(place) if place.type == "cuda" else 0


@contextmanager
def deterministic(section: Training, place: torch.device) -> Iterator[None]:
    """What the params' `deterministic` does on a GPU, also where `place` is none, and back."""
    parallel.start(section.model_copy(update={"deterministic": True}))
    # Stages ask for it on a GPU alone. A CPU refuses no kernel of theirs, but the forms that networks then choose are tried.
    if place.type != "cuda":
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        parallel.start(section)
        if place.type != "cuda":
            torch.use_deterministic_algorithms(section.deterministic)


@contextmanager
def drawn_on_cpu() -> Iterator[None]:
    """torch.rand, randn and randint draw on the CPU whatever the device, so that all devices see the same numbers."""

    def on_cpu(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def drawn(*shape: object, device: object = "cpu", **options: object) -> Tensor:
            return draw(*shape, **options).to(device)

        return drawn

    originals = {name: getattr(torch, name) for name in ("rand", "randn", "randint")}
    with mock.patch.multiple(torch, **{name: on_cpu(draw) for name, draw in originals.items()}):
        yield


if __name__ == "__main__":
    main()
