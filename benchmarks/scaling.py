"""How the cost of each part grows with images, classes, steps, pairs and seeds: small sizes doubled three times, some minutes.

Prints a Markdown table of the medians of three rounds, with the least and the most. The exponent is the slope of log seconds
over log size: 1 is linear, 0 does not grow. A pair or a seed more is a training more of each method.
"""

import functools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
import yaml

from benchmarks.common import duration, interleaved, machine
from benchmarks.paper_trainers import PAPER, Trainer, digits, trainers
from stages.adaptation import method
from stages.adaptation.embed import layout
from stages.data import mnistm
from stages.data.pair import hold_out
from stages.data.pictures import unify
from stages.evaluation.frechet import moments_of
from stages.evaluation.scores import kid, precision_recall
from stages.runtime import params
from stages.runtime.seeding import numpy_generator, seed_step

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
FEATURES, ROUNDS = 1280, 3


@dataclass(frozen=True)
class Row:
    """A part of the work at several sizes. `why` says what makes its exponent another than 1, where it is."""

    name: str
    sizes: tuple[int, ...]
    of: str
    at: Callable[[int], Callable[[], object]]
    why: str = ""


def main() -> None:
    print(machine())
    print("| part | sizes | median (least–most) | exponent | |\n|---|---|---|---|---|")
    for row in rows():
        print(line(row, measure(row)), flush=True)


def rows() -> Iterator[Row]:
    """All parts, in the order of the pipeline."""
    paper = {one.name: one for one in trainers(params.load(ROOT / PAPER))}
    dann, judge = paper["dann"], paper["judge"]
    yield Row("prepare MNIST-M", doubled(1000), "images", blending)
    yield Row("bring a pair to 28x28", doubled(250), "images", lambda n: functools.partial(unify, digits(n, 32)[0], 28))
    yield Row("hold out a part of 100,000 images", doubled(10), "classes", holding_out)
    yield Row("train DANN", doubled(10), "steps", lambda n: training(dann, n))
    yield Row("a step of the judge", doubled(5000), "images there are", step_among, "does not depend on them")
    yield Row("train judges", doubled(1), "pairs x seeds", lambda n: trainings(judge, n))
    yield Row("score a classifier", doubled(250), "images", scoring)
    yield Row("Fréchet statistics", doubled(4000), "images", lambda n: functools.partial(moments_of, features(n)))
    yield Row("KID, 20 subsets of 200", doubled(500), "images", kernel_distance, "its subsets keep their size")
    yield Row("precision and recall", doubled(250), "images", manifolds, "compares every image with every other")
    yield Row("t-SNE", doubled(125), "points", embedding, "Barnes-Hut: n log n, over fixed costs")
    yield Row("`dvc status`", doubled(1), "seeds", status, "starting DVC; each seed adds the same stages")


def doubled(first: int) -> tuple[int, ...]:
    return first, 2 * first, 4 * first, 8 * first


def measure(row: Row) -> list[list[float]]:
    """Seconds of each round at each size."""
    forms = {str(size): row.at(size) for size in row.sizes}
    return list(interleaved(forms, rounds=ROUNDS, repeats=1).values())


def exponent(sizes: tuple[int, ...], seconds: list[float]) -> float:
    """The slope of the straight line through the logarithms, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def line(row: Row, seconds: list[list[float]]) -> str:
    """The row of the table; what is neither linear nor explained says so."""
    slope = exponent(row.sizes, list(map(median, seconds)))
    verdict = row.why or ("linear" if slope <= 1.15 else "NOT LINEAR")
    if not row.why and slope < 0.85:
        verdict = "at most linear, over fixed costs"
    sizes = f"{', '.join(map(str, row.sizes))} {row.of}"
    taken = ", ".join(f"{duration(median(all_of))} ({duration(min(all_of))}–{duration(max(all_of))})" for all_of in seconds)
    return f"| {row.name} | {sizes} | {taken} | {slope:.2f} | {verdict} |"


def blending(count: int) -> Callable[[], object]:
    photos = [digits(1, 200)[0][0]]
    grey = digits(count)[0][..., 0]
    return lambda: list(mnistm.blend(grey, photos, numpy_generator(0)))


def holding_out(classes: int) -> Callable[[], object]:
    labels = np.arange(100_000) % classes
    return lambda: hold_out(labels, 0.25, numpy_generator(0))


def training(one: Trainer, steps: int) -> Callable[[], object]:
    model = one.make(CPU, "fp32", params.load(ROOT / PAPER).training)

    def run() -> None:
        for step in range(1, steps + 1):
            seed_step(0, step)
            model.update(step)

    return run


def trainings(one: Trainer, count: int) -> Callable[[], object]:
    return lambda: [training(one, 10)() for _ in range(count)]


def step_among(count: int) -> Callable[[], object]:
    (judge,) = [one for one in trainers(params.load(ROOT / PAPER), images=count) if one.name == "judge"]
    return training(judge, 10)


def scoring(count: int) -> Callable[[], object]:
    model, (images, _) = method.named("dann")(), digits(count)
    return lambda: method.in_batches(model.predict, images)


@functools.cache
def features(count: int) -> np.ndarray:
    return numpy_generator(count, "features").standard_normal((count, FEATURES), dtype=np.float32)


def kernel_distance(count: int) -> Callable[[], object]:
    return lambda: kid(features(count), features(count), subsets=20, size=200, generator=numpy_generator(0))


def manifolds(count: int) -> Callable[[], object]:
    return lambda: precision_recall(features(count), features(count), 3)


def embedding(count: int) -> Callable[[], object]:
    return lambda: layout(features(count)[:, :512], 30.0, 0)


def status(seeds: int) -> Callable[[], object]:
    """`dvc status` of the study with so many seeds, in a folder where nothing is built."""
    kept = tempfile.TemporaryDirectory(prefix="scaling-")
    folder = Path(kept.name)
    content = yaml.safe_load((ROOT / "presets/laptop.yaml").read_text())
    for section in ("stylegan2", "acgan", "adaptation"):
        content[section]["seeds"] = list(range(seeds))
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    shutil.copy(ROOT / "dvc.yaml", folder)
    shutil.copytree(ROOT / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    command = [sys.executable, "-m", "dvc", "status", "-q"]
    # It returns 1 where there is something to do. The folder goes with the function that needs it.
    return lambda: subprocess.run(command, cwd=kept.name, capture_output=True)


if __name__ == "__main__":
    main()
