"""A training whose images are read from disk as it goes, beside one whose images lie in memory (or on the GPU).

Both are the judge's training, the lightest step of all and so the hardest to keep fed, on a synthetic set that this makes
in a temporary folder and removes again: 2,000,000 images take 4.7 GB of disk. `python -m benchmarks.streaming --images N`
takes another number, `--folder` another disk.

The times are of one process in which both take turns. The memory is that of a process for each form: what it has for itself
(RssAnon). Pages of the file that the kernel keeps in its cache are not counted: it takes them back whenever others need them.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks.common import interleaved, machine, own_memory
from stages.evaluation.train_judge import JudgeTraining
from stages.runtime import params
from stages.runtime.device import pick
from stages.runtime.images import Blocks, load_arrays, save_arrays
from stages.runtime.seeding import seed_step

ROOT = Path(__file__).resolve().parents[1]
SHAPE = (28, 28, 3)
BLOCK = 10_000
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
        path = Path(folder) / "images.npz"
        make(path, options.images)
        gigabytes = path.stat().st_size / 1e9
        print(f"{options.images:,} images of 28x28x3, {gigabytes:.2f} GB; the judge's step on {settings().batch_size} of them")
        for form in FORMS:
            before, after = measured(form, path)
            print(f"    {form}: {before:.2f} GB of its own memory before its steps, at most {after:.2f} GB in them")
        compare(path)


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


def measured(form: str, path: Path) -> tuple[float, float]:
    """GB of a process of its own that trains in one form: before its first step, and at most in the steps."""
    command = [sys.executable, "-m", "benchmarks.streaming", "--memory-of", form, "--set", str(path)]
    before, after = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    return before / 1e9, after / 1e9


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
    training = params.load(ROOT / "presets/laptop.yaml").training.model_copy(update={"resident_gb": FORMS[form]})
    return JudgeTraining(images, labels, settings(), pick(), training)


def settings():
    """The judge's settings in the laptop preset."""
    return params.load(ROOT / "presets/laptop.yaml").judge


if __name__ == "__main__":
    main()
