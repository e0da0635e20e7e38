"""A training whose images are read from disk as it goes, beside one whose images lie in memory (or on the GPU).

Both are the judge's training, the lightest step of all and so the hardest to keep fed, on a synthetic set that this makes
in a temporary folder and removes again: 2,000,000 images of 32x32, of which the judge sees the 28x28 in the middle, and a
quarter of as many, take 7.7 GB of disk. `python -m benchmarks.streaming --images N` takes another number, `--folder` another
disk.

The times are of one process in which both take turns. A file that fits into the memory that the system has to spare is read
from there, its page cache, and not from the disk: then this measures what streaming costs the processor, and no disk. It
says so. The memory is that of a process for each form, on a quarter of the images and on all: what it has for itself
(RssAnon). Pages of the file in the cache are not counted: the kernel takes them back whenever others need them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import interleaved, machine, own_memory
from stages.evaluation.train_judge import JudgeTraining
from stages.runtime import params
from stages.runtime.device import pick
from stages.runtime.images import Blocks, load_arrays, save_arrays
from stages.runtime.seeding import seed_step

ROOT = Path(__file__).resolve().parents[1]
SHAPE, SEEN = (32, 32, 3), slice(2, 30)
BLOCK = 10_000
# Of what the data grow by, what may be seen in memory: malloc's leftovers, and labels, which are eight bytes an image.
FLAT = 0.1
# GB that may lie in memory.
FORMS = {"resident": 1e6, "streamed": 0.0}
ROUNDS, STEPS = 9, 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2_000_000)
    parser.add_argument("--folder", help="where the temporary set is made")
    parser.add_argument("--memory-of", choices=FORMS, help=argparse.SUPPRESS)
    parser.add_argument("--set", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print(json.dumps(memory_of(options.memory_of, Path(options.set))))
        return
    print(machine())
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        whole, part = (Path(folder) / f"{name}.npz" for name in ("images", "quarter"))
        make(whole, options.images)
        make(part, max(1, options.images // 4))
        size, spare = whole.stat().st_size, spare_memory()
        print(f"{options.images:,} images of 32x32x3, {size / 1e9:.2f} GB; the judge's step on {settings().batch_size} of them")
        fits = "fits the page cache: no disk is measured" if size < spare else "does not fit the page cache"
        print(f"    {spare / 1e9:.1f} GB of memory to spare: the file {fits}")
        verdicts = {}
        for form in FORMS:
            (_, few), (before, many) = measured(form, part), measured(form, whole)
            growth = many - few
            verdicts[form] = "flat" if growth < FLAT * (size - part.stat().st_size) else "grows"
            print(
                f"    {form}: {few / 1e9:.2f} GB of its own memory at most on a quarter of them, {many / 1e9:.2f} GB on all "
                f"({before / 1e9:.2f} GB before its steps): {verdicts[form]}"
            )
        compare(whole)
    if verdicts["streamed"] == "grows":
        sys.exit("error: memory grows with the images that are streamed")


def spare_memory() -> int:
    """Bytes that the system could give to its page cache; 0 where it does not tell."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return 0


def make(path: Path, count: int) -> None:
    """A set of `count` random images with labels, the same few thousand again and again."""
    block = np.random.default_rng(0).integers(0, 256, (min(BLOCK, count), *SHAPE), dtype=np.uint8)
    parts = (block[: count - start] for start in range(0, count, BLOCK))
    save_arrays(path, train_images=Blocks((count, *SHAPE), parts), train_labels=np.arange(count) % 10)


def compare(path: Path) -> None:
    """Time both forms in turns; AssertionError where they train to different weights."""
    trainings = {form: training_of(form, path) for form in FORMS}
    done = dict.fromkeys(FORMS, 0)

    def steps_of(form: str) -> None:
        done[form] += 1
        seed_step(0, done[form])
        trainings[form].update(done[form])

    seconds = interleaved({form: lambda form=form: steps_of(form) for form in FORMS}, rounds=ROUNDS, repeats=STEPS)
    weights = [training.judge.state_dict() for training in trainings.values()]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0]), "the forms disagree"
    shares = [100 * one / other for one, other in zip(seconds["resident"], seconds["streamed"], strict=True)]
    rates = ", ".join(f"{form} {settings().batch_size / median(values):,.0f}" for form, values in seconds.items())
    print(f"    images/s: {rates}; streamed is {median(shares):.1f} % of resident ({min(shares):.1f}-{max(shares):.1f})")


def measured(form: str, path: Path) -> tuple[int, int]:
    """Bytes of a process of its own that trains in one form: before its first step, and at most in the steps."""
    command = [sys.executable, "-m", "benchmarks.streaming", "--memory-of", form, "--set", str(path)]
    before, after = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    return before, after


def memory_of(form: str, path: Path) -> tuple[int, int]:
    """Bytes of this process's own memory: with torch loaded and the set opened, and at most while it trains."""
    load_arrays(path, "train_images")
    before = own_memory()
    training, peak = training_of(form, path), 0
    for step in range(1, 5 * STEPS + 1):
        training.update(step)
        peak = max(peak, own_memory())
    return before, peak


def training_of(form: str, path: Path) -> JudgeTraining:
    """The judge's training, the laptop preset's, with its images in memory or on disk."""
    images, labels = load_arrays(path, "train_images", "train_labels")
    os.environ["RESIDENT_GB"] = f"{FORMS[form]:g}"
    model = JudgeTraining(images, labels, settings(), pick(), params.load(ROOT / "presets/laptop.yaml").training)
    batch = model.feed.at

    def middle(step: int) -> tuple[Tensor, Tensor]:
        pictures, index = batch(step)
        return pictures[:, SEEN, SEEN], index

    model.feed.at = middle
    return model


def settings():
    """The judge's settings in the laptop preset."""
    return params.load(ROOT / "presets/laptop.yaml").judge


if __name__ == "__main__":
    main()
