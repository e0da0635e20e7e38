"""How the cost of each part grows with images, classes, steps, pairs and seeds: small sizes, doubled; some minutes.

Prints a Markdown table of the medians of three rounds, with the least and the most. The exponent is the slope of log seconds
over log size: 1 is linear, 0 does not grow. DANN and the judge train as in `paper`; the others, whose steps take longer, with
networks and batches of `smoke`. A pair or a seed more is a training more of each method: DANN's stage, as `smoke` has it, is
run for each of them, from reading its images to writing its weights.
"""

import functools
import io
import itertools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
import yaml

from benchmarks.adaptation import endlessly
from benchmarks.common import duration, interleaved, machine
from benchmarks.paper_trainers import PAPER, Trainer, digits, trainers
from stages.adaptation import method, train
from stages.adaptation.embed import layout
from stages.adaptation.evaluate import proxy_a_distance
from stages.adaptation.selection import soft_neighbourhood_density
from stages.data import mnistm
from stages.data.pair import hold_out
from stages.data.pictures import unify
from stages.evaluation import judge
from stages.evaluation.diversity import diversity
from stages.evaluation.frechet import moments_of
from stages.evaluation.neighbours import nearest
from stages.evaluation.scores import kid, precision_recall
from stages.runtime import device, params
from stages.runtime.images import save_arrays
from stages.runtime.seeding import numpy_generator, seed_step

ROOT = Path(__file__).resolve().parents[1]
SMOKE = "presets/smoke.yaml"
CPU = torch.device("cpu")
FEATURES, ROUNDS = 1280, 3
PAIRS = ("mnistm-mfeat", "mfeat-mnistm")


@dataclass(frozen=True)
class Row:
    """A part of the work at several sizes, which a round calls `repeats` times: its seconds are those of one call.

    `why` says what makes its exponent another than 1, where it is.
    """

    name: str
    sizes: tuple[int, ...]
    of: str
    at: Callable[[int], Callable[[], object]]
    why: str = ""
    repeats: int = 1


def main() -> None:
    print(machine())
    # As every stage with a network does.
    device.keep_freed_memory()
    print("| part | sizes | median (least–most) | exponent | |\n|---|---|---|---|---|")
    for row in rows():
        print(line(row, measure(row)), flush=True)


def rows() -> Iterator[Row]:
    """All parts, in the order of the pipeline."""
    paper = {one.name: one for one in trainers(params.load(ROOT / PAPER))}
    smoke = {one.name: one for one in trainers(params.load(ROOT / SMOKE), side=16)}
    yield Row("prepare MNIST-M", doubled(1000), "images", blending)
    yield Row("bring a pair to 28x28", doubled(250), "images", lambda n: functools.partial(unify, digits(n, 32)[0], 28))
    yield Row("hold out a part of 100,000 images", doubled(10), "classes", holding_out)
    # Sizes are whole periods of its regularisers.
    yield Row("train StyleGAN2", doubled(8), "steps", lambda n: training(smoke["StyleGAN2"], n))
    yield Row("train ACGAN", doubled(10), "steps", lambda n: training(smoke["ACGAN"], n))
    yield Row("a step of the judge", doubled(5000), "images there are", step_among, "does not depend on them", repeats=10)
    yield Row("train DANN", doubled(10), "steps", lambda n: training(paper["dann"], n))
    yield Row("train DSN", doubled(5), "steps", lambda n: training(smoke["dsn"], n))
    yield Row("train self-ensembling", doubled(5), "steps", lambda n: training(smoke["mean_teacher"], n))
    yield Row("train DANN for each pair and seed", (1, 2, 4), "pairs x seeds", of_each_pair)
    yield Row("score a classifier", doubled(250), "images", scoring)
    yield Row("proxy A-distance", doubled(250), "codes of each domain", telling_apart, "its classifier takes the steps it needs")
    yield Row("soft neighbourhood density", doubled(125), "predictions", neighbourhoods, "compares all with all, 1,000 at most")
    yield Row("diversity of digits", doubled(2500), "images", diverse)
    yield Row("Fréchet statistics", doubled(4000), "images", lambda n: functools.partial(moments_of, features(n)))
    yield Row("KID, 20 subsets of 200", doubled(500), "images", kernel_distance, "its subsets keep their size")
    yield Row("precision and recall", doubled(250), "images", manifolds, "compares every image with every other")
    yield Row("nearest training faces", doubled(1000), "training images", remembered)
    yield Row("t-SNE", doubled(125), "points", embedding, "Barnes-Hut: n log n, over fixed costs")
    yield Row("`dvc status`", doubled(1), "seeds", status, "starting DVC; each seed adds the same stages")


def doubled(first: int) -> tuple[int, ...]:
    return first, 2 * first, 4 * first, 8 * first


def measure(row: Row) -> list[list[float]]:
    """Seconds of a call at each size, one value a round."""
    forms = {str(size): row.at(size) for size in row.sizes}
    return list(interleaved(forms, rounds=ROUNDS, repeats=row.repeats).values())


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
    """So many steps, from one on at which every loss has a part."""
    model, first = one.make(CPU, "fp32", params.load(ROOT / PAPER).training), one.timed.start

    def run() -> None:
        for step in range(first, first + steps):
            seed_step(0, step)
            model.update(step)

    return run


def step_among(count: int) -> Callable[[], object]:
    """The judge's next step."""
    how = params.load(ROOT / PAPER)
    (one,) = [one for one in trainers(how, images=count) if one.name == "judge"]
    return endlessly(one.make(CPU, "fp32", how.training), first=1)


def of_each_pair(count: int) -> Callable[[], object]:
    """DANN's stage for so many pairs x seeds, one after the other, in a folder where the pairs' images are noise."""
    kept = tempfile.TemporaryDirectory(prefix="scaling-")
    content = yaml.safe_load((ROOT / SMOKE).read_text())
    pairs = PAIRS[: min(count, 2)]
    seeds = list(range(count // len(pairs)))
    [settings] = content["adaptation"]["pairs"].values()
    content["adaptation"] |= {"seeds": seeds, "pairs": {name: dict(settings) for name in pairs}}
    images, labels = digits(640)
    for pair in pairs:
        path = Path(kept.name, f"data/pairs/{pair}/train.npz")
        save_arrays(path, source_images=images, source_labels=labels, target_images=images)
    Path(kept.name, "params.yaml").write_text(yaml.safe_dump(content))

    def run() -> None:
        # It says how far it is. The folder goes with the function that needs it.
        with chdir(kept.name), redirect_stderr(io.StringIO()):
            for pair, seed in itertools.product(pairs, seeds):
                train.main(pair, "dann", seed)

    return run


def scoring(count: int) -> Callable[[], object]:
    model, (images, _) = method.named("dann")(), digits(count)
    return lambda: method.in_batches(model.predict, images)


def telling_apart(count: int) -> Callable[[], object]:
    codes = features(2 * count)[:, :512]
    return lambda: proxy_a_distance(codes[:count], codes[count:] + 0.05, 0)


def neighbourhoods(count: int) -> Callable[[], object]:
    probabilities = torch.from_numpy(features(count)[:, :10]).double().softmax(dim=1)
    return lambda: soft_neighbourhood_density(probabilities)


def diverse(count: int) -> Callable[[], object]:
    """As many training as test images, and the same number of generated ones."""
    look = functools.partial(judge.features, judge.Judge(), where=CPU)
    generated, real = digits(1000), digits(count)
    return lambda: diversity(generated, real, real, look, neighbours=3, seed=0)


def remembered(count: int) -> Callable[[], object]:
    """With the features there, of which extraction takes the time that scoring does."""
    views = features(2 * count).reshape(count, 2, FEATURES)
    return lambda: nearest(features(400), [views[first : first + 50] for first in range(0, count, 50)], 3)


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
