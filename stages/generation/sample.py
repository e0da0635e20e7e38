"""Make new images with a trained generator: faces with a StyleGAN2, digits with an ACGAN.

Reads models/RUN/weights.safetensors, and of params.yaml what the generator is like. A name that ends in .png is for one sheet
of all images, 8 faces or 10 digits a row; any other name is for a new folder with a PNG file an image (digits: NUMBER-CLASS.png).
The same command gives the same bytes, and the first images of a seed are the same however many follow.

    python -m stages.generation.sample stylegan2-0 --count 32 --psi 0.7 --seed 1 --out faces.png
    python -m stages.generation.sample acgan-0 --class 7 --count 20 --seed 1 --out sevens
"""

import os
import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image

from stages.runtime import params, schema
from stages.runtime.errors import UserError
from stages.runtime.files import CannotWrite, reason, refuse_taken, replacing
from stages.runtime.images import tile
from stages.runtime.runs import weights_of
from stages.runtime.seeding import mix
from stages.runtime.stage import run as run_stage

# As many latents are drawn whatever the count, so that it changes none of them.
MOST = 10_000
COLUMNS = {"stylegan2": 8, "acgan": 10}


def main(
    run: Annotated[str, "stylegan2-SEED or acgan-SEED, SEED being the training's", "stylegan2.seeds", "acgan.seeds"],
    *,
    count: Annotated[int, f"images, up to {MOST}; 40 if not given"] = 40,
    seed: Annotated[int, "any whole number; another one gives other images; 0 if not given"] = 0,
    class_: Annotated[int | None, "ACGAN: the digit, 0 to 9; by default 0 to 9 in turns"] = None,
    psi: Annotated[float | None, "StyleGAN2: truncation, from 0 (the mean face) to 1 (none, the default) and beyond"] = None,
    out: Annotated[str | None, "a sheet NAME.png or a folder; RUN.png if not given"] = None,
    force: Annotated[bool, "replace the sheet if it exists"] = False,
) -> None:
    network, protocols, faces_seeds, eps, fit, settings, digits_seeds = params.read(
        *("stylegan2.network", "stylegan2.sample", "stylegan2.seeds"),
        *("acgan.train.batch_norm_eps", "acgan.train.fit", "acgan.sample", "acgan.seeds"),
    )
    seeds = {"stylegan2": faces_seeds, "acgan": digits_seeds}
    trainers = {f"{kind}-{number}": f"train_{kind}@{number}" for kind, numbers in seeds.items() for number in numbers}
    weights, (kind,) = weights_of(run, r"(stylegan2|acgan)-[0-9]+", trainers)
    refuse_nonsense(kind, count, class_, psi)
    path = free(Path(out or f"{run}.png"), force)
    if kind == "stylegan2":
        images, labels = faces(weights, network, protocols, count, 1.0 if psi is None else psi, seed), None
    else:
        images, labels = digits(weights, {"batch_norm_eps": eps, "fit": fit}, settings, count, class_, seed)
    if path.suffix:
        write_sheet(path, images, COLUMNS[kind])
    else:
        write_folder(path, images, labels)
    print(f"{count} images of {run} in {path}")


def refuse_nonsense(kind: str, count: int, class_: int | None, psi: float | None) -> None:
    """UserError for options that the model does not have, or values that they can't take."""
    if kind == "acgan" and psi is not None:
        raise UserError("--psi is for StyleGAN2: an ACGAN knows no truncation")
    if kind == "stylegan2" and class_ is not None:
        raise UserError("--class is for ACGAN: a StyleGAN2 knows no classes")
    if not 1 <= count <= MOST:
        raise UserError(f"--count must be from 1 to {MOST}, not {count}")
    if class_ is not None and not 0 <= class_ <= 9:
        raise UserError(f"--class must be a digit from 0 to 9, not {class_}")
    if psi is not None and not 0 <= psi <= 10:
        raise UserError(f"--psi must be from 0 to 10, not {psi}")


def free(path: Path, force: bool) -> Path:
    """The path, if it may be written: a .png file that is not there or is to be replaced, or a folder, new or empty."""
    if path.suffix.lower() == ".png":
        refuse_taken(path, force)
    elif path.suffix and not path.is_dir():
        raise UserError(f"--out {path}: a sheet ends in .png, and a folder's name has no ending")
    elif os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"{path} exists already: give a new or an empty folder")
    return path


def faces(
    weights: Path, network: schema.StyleGAN2Network, settings: schema.StyleGAN2Sample, count: int, psi: float, seed: int
) -> np.ndarray:
    """Images (count, size, size, 3) uint8 of the averaged networks."""
    # torch takes seconds, and neither --help nor a refusal needs it.
    from stages.generation import sample_stylegan2
    from stages.generation.stylegan2 import StyleGAN2
    from stages.runtime import device
    from stages.runtime.weights import load_weights

    form = network.model_dump(exclude={"minibatch_stddev"})
    try:
        model = device.place(StyleGAN2(sample_stylegan2.trained_size(weights), **form), device.pick())
    except ValueError as error:
        raise UserError(f"{weights} belongs to another model than the params describe ({error})") from None
    load_weights(weights, model, prefix="average.")
    # Whole batches: the noise, and the last digits of a product, depend on a batch's size.
    batches = -(-count // sample_stylegan2.BATCH) * sample_stylegan2.BATCH
    wanted, most = (schema.Sampling(count=number, psi=psi) for number in (batches, MOST))
    settings = settings.model_copy(update={"report": most, "clean": most})
    centre = sample_stylegan2.tracked_mean(weights, settings)
    return np.concatenate([*sample_stylegan2.sample(model, settings, wanted, seed, None, centre).parts])[:count]


def digits(
    weights: Path, form: dict[str, Any], settings: schema.ACGANSample, count: int, class_: int | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, 28, 28, 3) uint8 of the averaged generator and their labels (count,), one class or all in turns."""
    from stages.generation import sample_acgan
    from stages.generation.acgan import CLASSES, Generator
    from stages.generation.acgan_images import COLUMNS as PER_BATCH
    from stages.runtime import device
    from stages.runtime.weights import check_form, load_weights

    check_form(weights, form)
    generator = Generator(form["batch_norm_eps"])
    load_weights(weights, generator, "average.")
    generator = device.place(generator, device.pick())
    settings = settings.model_copy(update={"per_class": PER_BATCH})
    # Where a batch has which class and number; the batches are balanced, as in training.
    places = np.arange(CLASSES * PER_BATCH).reshape(CLASSES, PER_BATCH)
    order = places.T.ravel() if class_ is None else places[class_]
    images, labels = [], []
    for batch in range(-(-count // len(order))):
        made, kinds = sample_acgan.sample(generator, mix(seed, batch), settings)
        images.append(made[order])
        labels.append(kinds[order])
    return np.concatenate(images)[:count], np.concatenate(labels)[:count]


def write_sheet(path: Path, images: np.ndarray, columns: int) -> None:
    """One PNG of all images (n, height, width, 3), in rows of `columns`."""
    with replacing(path) as temporary:
        Image.fromarray(tile(images, min(columns, len(images)))).save(temporary, "PNG")


def write_folder(path: Path, images: np.ndarray, labels: np.ndarray | None) -> None:
    """A PNG of each image in a folder that appears when all of them are there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
            made = Path(scratch) / path.name
            made.mkdir()
            for number, image in enumerate(images):
                label = "" if labels is None else f"-{labels[number]}"
                Image.fromarray(image).save(made / f"{number:04d}{label}.png", "PNG")
            os.replace(made, path)
    except OSError as error:
        raise CannotWrite(f"{path} can't be written: {reason(error)}") from error


if __name__ == "__main__":
    run_stage(main, timed=False)
