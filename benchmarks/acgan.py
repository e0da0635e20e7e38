"""How much faster is one ACGAN step than its plain form? About a minute.

Both forms take turns on the same digits with the report's objective, at its batch of 64 and at 32, as `laptop` has. The plain
step finds its images enlarged and as floats in memory, or, named `loader`, prepared image by image by a DataLoader with two
workers; ours enlarges its own from the stored digits and keeps a moving average besides. Last comes ours as `laptop` trains,
which has no plain form. `--compile` also times compiled networks at 32 in bf16, which take minutes to make.
"""

import argparse
from collections.abc import Callable, Iterator
from itertools import count
from statistics import median

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import PARTS_BELOW, by_part, duration, flops_of, interleaved, machine, peak_flops, peak_line, ratio_line
from benchmarks.paper_trainers import PAPER, digits
from benchmarks.plain_acgan import PlainACGAN, plain_loader
from stages.generation.acgan_images import enlarge
from stages.generation.train_acgan import ACGAN
from stages.runtime import device, params, schema
from stages.runtime.seeding import seed_step

LAPTOP = "presets/laptop.yaml"
IMAGES = 2000
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.acgan", description=__doc__)
    parser.add_argument("--compile", action="store_true", help="compiled networks, too")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    print(machine())
    # As every training does; the plain form has the good of it, too.
    device.keep_freed_memory()
    images, labels = digits(IMAGES)
    batch = torch.from_numpy(images[:32])
    alone = interleaved({"enlarge": lambda: enlarge(batch)}, rounds=9, repeats=20)
    print(f"enlarging a batch of 32: {duration(median(alone['enlarge']))}")
    peaks = {precision: peak_flops(dtype) for precision, dtype in DTYPES.items()}
    compare(64, images, labels, peaks, arguments.rounds, loaded=True, compiled=False)
    compare(32, images, labels, peaks, arguments.rounds, loaded=False, compiled=arguments.compile)
    settings = params.load(LAPTOP).acgan.train
    taken = median(interleaved({"": our_step(images, labels, settings)}, rounds=arguments.rounds, repeats=5)[""])
    print(f"ACGAN step as laptop trains: {settings.batch_size / taken:.0f} images/s")


def compare(
    size: int, images: np.ndarray, labels: np.ndarray, peaks: dict[str, float], rounds: int, *, loaded: bool, compiled: bool
) -> None:
    """Print ratios, shares of the peak and images a second of batches of `size`."""
    forms = {"plain": plain_step(images, labels, size)}
    if loaded:
        forms["loader"] = loader_step(images, labels, size)
    for precision in DTYPES:
        forms[precision] = our_step(images, labels, of_paper(size, precision))
    if compiled:
        forms["bf16 compiled"] = our_step(images, labels, of_paper(size, "bf16"), compiled=True)
    flops = {precision: flops_of(forms[precision]) for precision in DTYPES}
    seconds = interleaved(forms, rounds=rounds, repeats=5)
    for form in forms:
        if form not in ("plain", "loader"):
            for slow in ("plain", "loader")[: 1 + loaded]:
                print(ratio_line(f"ACGAN step, batch {size}, {form} against {slow}", seconds[slow], seconds[form]))
            print(f"  {size / median(seconds[form]):.0f} images/s")
    for precision in DTYPES:
        taken = median(seconds[precision])
        print(peak_line(f"ACGAN step, batch {size}, {precision}", flops[precision], taken, peaks[precision]))
        if flops[precision] / taken < PARTS_BELOW * peaks[precision]:
            print(f"  {by_part(forms[precision], 5)}")


def plain_step(images: np.ndarray, labels: np.ndarray, size: int) -> Callable[[], None]:
    """The plain form on images that lie in memory as it wants them."""
    plain = PlainACGAN()
    resident, resident_labels = enlarge(torch.from_numpy(images)).contiguous(), torch.from_numpy(labels)

    def step() -> None:
        index = torch.randint(len(resident), (size,))
        plain.step_on(resident[index], resident_labels[index])

    return step


def loader_step(images: np.ndarray, labels: np.ndarray, size: int) -> Callable[[], None]:
    """The plain form on images that two workers prepare one by one."""
    plain, batches = PlainACGAN(), endless(images, labels, size)
    return lambda: plain.step_on(*next(batches))


def endless(images: np.ndarray, labels: np.ndarray, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The loader's batches, one epoch after the other."""
    loader = plain_loader(images, labels, size)
    while True:
        yield from loader


def of_paper(size: int, precision: str) -> schema.ACGANTrain:
    """The settings of `paper`, in batches of `size`."""
    return params.load(PAPER).acgan.train.model_copy(update={"batch_size": size, "precision": precision})


def our_step(
    images: np.ndarray, labels: np.ndarray, settings: schema.ACGANTrain, *, compiled: bool = False
) -> Callable[[], None]:
    """Ours, as the training loop calls it."""
    training = params.load(PAPER).training.model_copy(update={"compile": compiled})
    model, steps = ACGAN(images, labels, settings, 0, torch.device("cpu"), training), count(1)

    def step() -> None:
        number = next(steps)
        seed_step(0, number)
        model.update(number)

    return step


if __name__ == "__main__":
    main()
