"""Read the digits in a folder of images with a trained classifier.

Reads models/PAIR-METHOD-SEED/weights.safetensors and every file of FOLDER but those whose names begin with a dot: PNG or JPEG of
any size, grey or colour, treated like the digits of a folder that is imported. Writes a CSV with the columns image_name, label
(0 to 9) and confidence (the label's softmax), by name, to the file of --csv or else to stdout. How many images of each digit
there were goes to stderr.

    python -m stages.adaptation.predict syn-mnistm-dann-0 /home/me/mydigits --csv labels.csv
"""

import csv
import io
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np

from stages.data.import_folder import counted, files_in, names_in, visible
from stages.data.pictures import DIGIT_SIDE, progress, read_rgb, unify
from stages.runtime import params
from stages.runtime.errors import UserError
from stages.runtime.files import refuse_taken, replacing
from stages.runtime.runs import weights_of
from stages.runtime.stage import run as run_stage

BLOCK = 100


def main(
    run: Annotated[str, "PAIR-METHOD-SEED, a trained classifier", "adaptation.pairs", "adaptation.methods", "adaptation.seeds"],
    folder: Annotated[str, "folder with nothing but images"],
    *,
    csv: Annotated[str | None, "file to write; stdout if not given"] = None,
    force: Annotated[bool, "replace the file if it exists"] = False,
) -> None:
    pairs, methods, seeds = params.read("adaptation.pairs", "adaptation.methods", "adaptation.seeds")
    weights, (method,) = weights_of(run, r"[a-z0-9_]+-[a-z0-9_]+-([a-z0-9_]+)-[0-9]+", trainers(pairs, methods, seeds))
    if csv is not None:
        refuse_taken(csv, force)
    paths = images_of(Path(folder))
    labels, confidences, seconds = classify(weights, method, paths, Path(folder))
    write(csv, table([path.name for path in paths], labels, confidences))
    counts = Counter(labels)
    print("  ".join(f"{digit}: {counts[digit]}" for digit in range(10)), file=sys.stderr)
    print(f"{counted(paths, 'image')}, {len(paths) / seconds:.0f} images/s", file=sys.stderr)


def trainers(pairs: dict, methods: list[str], seeds: list[int]) -> dict[str, str]:
    """By run, the stage of dvc.yaml that trains it."""
    stages = {**dict.fromkeys(methods, "adapt"), "target_only": "adapt_target"}
    runs = ((f"{pair}-{method}-{seed}", stage) for pair in pairs for method, stage in stages.items() for seed in seeds)
    return {run: f"{stage}@{run}" for run, stage in runs}


def images_of(folder: Path) -> list[Path]:
    """The folder's files by name; UserError where it is none, or holds anything but files."""
    problems: list[str] = []
    try:
        folder = folder.resolve()
        names = sorted(filter(visible, files_in(folder.parent, folder.name, problems)))
    except OSError as error:
        raise UserError(f"{error.filename or folder} can't be read: {error.strerror}") from None
    if problems:
        raise UserError(f"{folder.parent}: {'; '.join(problems)}")
    return [folder / name for name in names]


def classify(weights: Path, method: str, paths: list[Path], folder: Path) -> tuple[list[int], list[float], float]:
    """The likeliest digit of each image, its softmax, and the seconds it took; UserError names the images that can't be read."""
    # torch takes seconds, and neither --help nor a refusal needs it.
    import torch

    from stages.adaptation.method import in_batches, named
    from stages.runtime import device
    from stages.runtime.weights import load_weights

    model = device.place(named(method)(), device.pick())
    load_weights(weights, model)
    began, unreadable = time.monotonic(), []
    logits = torch.cat([in_batches(model.predict, block) for block in blocks(paths, unreadable)])
    if unreadable:
        raise UserError(f"{folder}: {counted(unreadable, 'file')} that can't be read: {names_in(unreadable)}")
    confidences, labels = logits.softmax(dim=1).max(dim=1)
    return labels.tolist(), confidences.tolist(), time.monotonic() - began


def blocks(paths: list[Path], unreadable: list[str]) -> Iterator[np.ndarray]:
    """The images (BLOCK or fewer, 28, 28, 3) uint8, black where one can't be read, which joins the unreadable."""
    block = []
    for number, path in enumerate(progress(paths, len(paths), "predict"), 1):
        try:
            block.append(unify(np.asarray(read_rgb(path))[None], DIGIT_SIDE)[0])
        except ValueError as error:
            unreadable.append(f"{path.name} ({error})")
            block.append(np.zeros((DIGIT_SIDE, DIGIT_SIDE, 3), np.uint8))
        if len(block) == BLOCK or number == len(paths):
            yield np.stack(block)
            block = []


def table(names: list[str], labels: list[int], confidences: list[float]) -> bytes:
    """The CSV, names quoted where they need it and with the bytes that they have on disk."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image_name", "label", "confidence"])
    writer.writerows(
        [name, label, f"{confidence:.4f}"] for name, label, confidence in zip(names, labels, confidences, strict=True)
    )
    return text.getvalue().encode("utf-8", "surrogateescape")


def write(path: str | None, content: bytes) -> None:
    """Write to a file, or to stdout."""
    if path is None:
        sys.stdout.buffer.write(content)
        return
    with replacing(path) as temporary:
        temporary.write_bytes(content)


if __name__ == "__main__":
    run_stage(main, timed=False)
