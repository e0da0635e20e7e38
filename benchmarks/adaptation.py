"""How fast DANN, DSN and self-ensembling train, beside their plain forms: `python -m benchmarks.adaptation`.

Plain is benchmarks/plain_adaptation.py on PNG files, with the number of DataLoader workers that suits it best, and once more
without its loader, on a batch in memory: what is left between the two is the loader's. Ours is a step of the pipeline's
training with the settings of params.yaml, once per precision. Each form has a process of its own, as in real life, and they
take turns. The classifiers that learn from labels alone come last, without a plain form. `--compile` also times compiled
networks in bf16, which take minutes to make.
"""

import argparse
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks import plain_adaptation as plain
from benchmarks.common import (
    PARTS_BELOW,
    by_part,
    duration,
    flops_of,
    interleaved,
    machine,
    peak_flops,
    peak_line,
    processes,
    ratio_line,
)
from benchmarks.paper_trainers import trainers
from stages.adaptation.method import named
from stages.adaptation.train import make_batches
from stages.runtime import device, parallel, params
from stages.runtime.images import load_digits, load_unlabelled_digits
from stages.runtime.seeding import seed_step
from stages.runtime.training import Trainable

METHODS = ("dann", "dsn", "mean_teacher")
IMAGES, WORKERS, ROUNDS, STEPS = 4096, (1, 2, 3, 4), 5, 20
# Each worker of a loader holds two batches ready: while others take their turn these cost nothing, as in no training.
FETCHED_AHEAD = 2 * max(WORKERS)
# DSN's similarity loss begins at a step of its own; from this one on every loss is there.
FIRST = 1000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adaptation", description=__doc__)
    parser.add_argument(
        "methods", nargs="*", metavar="METHOD", help=f"of {', '.join(METHODS)}: these alone; by default all, and labels alone"
    )
    parser.add_argument("--compile", action="store_true", help="compiled networks, too")
    arguments = parser.parse_args()
    if unknown := set(arguments.methods) - set(METHODS):
        parser.error(f"there is no method {', '.join(sorted(unknown))}")
    print(machine(), flush=True)
    arrays = pictures()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain.write_digits(folder / "source", *arrays[:2])
        plain.write_digits(folder / "target", arrays[2], np.zeros(len(arrays[2]), np.int64))
        peaks = {"fp32": peak_flops(torch.float32), "bf16": peak_flops(torch.bfloat16)}
        for method in arguments.methods or METHODS:
            report(method, folder, arrays, peaks, compiled=arguments.compile)
        if not arguments.methods:
            labels_alone(peaks)


def pictures() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source images, their labels and target images: those of the first pair that was prepared, else noise."""
    for path in sorted(Path("data/pairs").glob("*/train.npz")):
        (images, labels), target = load_digits(path, "source"), load_unlabelled_digits(path, "target")
        print(f"images of {path}")
        return np.array(images[:IMAGES]), labels[:IMAGES], np.array(target[:IMAGES])
    print("images of noise, since no pair has been prepared")
    generator = np.random.default_rng(0)
    source, target = generator.integers(0, 256, (2, IMAGES, 28, 28, 3), dtype=np.uint8)
    return source, generator.integers(0, 10, IMAGES), target


def report(method: str, folder: Path, arrays: tuple, peaks: dict[str, float], *, compiled: bool) -> None:
    """Print how many times faster each precision is, images a second, share of the peak, and where the time goes."""
    workers = best_workers(method, folder)
    arguments = {
        "plain": (plain_steps, method, folder, workers),
        "no loader": (plain_steps, method, folder, None),
        "fp32": (our_steps, method, arrays, "fp32"),
        "bf16": (our_steps, method, arrays, "bf16"),
    }
    if compiled:
        arguments["bf16 compiled"] = (our_steps, method, arrays, "bf16", True)
    with processes(arguments) as forms:
        seconds = interleaved(forms, rounds=ROUNDS, repeats=STEPS, unmeasured=FETCHED_AHEAD)
    label, size = method.upper(), params.read("adaptation.common")[0].batch_size
    print(f"\n{label}, {size} + {size} images a step; the plain form's loaders have {workers} workers each")
    for form in list(arguments)[2:]:
        print(ratio_line(f"{label} step in {form}", seconds["plain"], seconds[form]))
        print(ratio_line(f"  beside the plain form without its loader ({form})", seconds["no loader"], seconds[form]))
    step = our_steps(method, arrays, "fp32")
    flops = flops_of(step)
    for precision in ("fp32", "bf16"):
        typical = median(seconds[precision])
        print(f"  {precision}: {2 * size / typical:.0f} images/s; {peak_line('share', flops, typical, peaks[precision])}")
        if flops / typical < PARTS_BELOW * peaks[precision]:
            print(f"    {by_part(our_steps(method, arrays, precision), STEPS)}", flush=True)


def labels_alone(peaks: dict[str, float]) -> None:
    """Print images a second and the share of the peak of the judge, source_only (with each augmentation) and target_only."""
    chosen = params.load("params.yaml")
    for one in trainers(chosen):
        if one.name.split(",")[0] not in ("judge", "source_only", "target_only"):
            continue
        for precision, peak in peaks.items():
            step = endlessly(one.make(torch.device("cpu"), precision, chosen.training), first=1)
            flops, [seconds] = flops_of(step), interleaved({"": step}, rounds=ROUNDS, repeats=STEPS).values()
            typical = median(seconds)
            print(peak_line(f"{one.name} in {precision}: {one.images / typical:.0f} images/s", flops, typical, peak), flush=True)
            if flops / typical < PARTS_BELOW * peak:
                print(f"    {by_part(step, STEPS)}", flush=True)


def best_workers(method: str, folder: Path) -> int:
    """The number of workers of each loader with which the plain form is fastest."""
    arguments = {str(count): (plain_steps, method, folder, count) for count in WORKERS}
    with processes(arguments) as forms:
        seconds = interleaved(forms, rounds=2, repeats=STEPS, unmeasured=FETCHED_AHEAD)
    print(f"{method.upper()} plain by workers: " + ", ".join(f"{n} {duration(min(s))}" for n, s in seconds.items()))
    return int(min(seconds, key=lambda name: min(seconds[name])))


def plain_steps(method: str, folder: Path, workers: int | None) -> Callable[[], Any]:
    """The plain form's next step, on batches of its loaders, or always the same one where there are no `workers`."""
    # More of them than cores may still be faster: the benchmark tries.
    warnings.filterwarnings("ignore", "This DataLoader will create")
    [common, settings] = params.read("adaptation.common", f"adaptation.{method}")
    source, target = (plain.endless(folder / name, common.batch_size, workers or 0) for name in ("source", "target"))
    if method == "dann":
        training = plain.TrainDANN(plain.DANN(), settings.lambda_steps)
    elif method == "dsn":
        training = plain.TrainDSN(plain.DSN(), settings.lambda_steps, settings.similarity_start)
    else:
        training = plain.TrainSelfEnsembling(plain.SelfEnsembling(settings.width), settings.steps, settings.intensity)
    steps, batch = iter(range(FIRST, 10**9)), (next(source), next(target))

    def step() -> None:
        (images, labels), (target_images, _) = batch if workers is None else (next(source), next(target))
        training.step(next(steps), images, labels, target_images)

    return step


def our_steps(method: str, arrays: tuple, precision: str, compiled: bool = False) -> Callable[[], Any]:
    """The pipeline's next step, as its training loop calls it, without augmentation."""
    [training, common, settings] = params.read("training", "adaptation.common", f"adaptation.{method}")
    place = parallel.start(training)
    seed_step(0, "init")
    model = device.place(named(method)(), place)
    batches = make_batches(*arrays, common.batch_size, "none", 0, place, training)
    model.start(batches, common.model_copy(update={"precision": precision}), settings, compiled=compiled)
    return endlessly(model, FIRST)


def endlessly(model: Trainable, first: int) -> Callable[[], None]:
    """The next step of a training, as its loop calls it."""
    steps = iter(range(first, 10**9))

    def step() -> None:
        number = next(steps)
        seed_step(0, number)
        model.update(number)

    return step


if __name__ == "__main__":
    main()
