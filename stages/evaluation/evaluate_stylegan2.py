"""Compare the faces that StyleGAN2 of one seed generated with real ones, and write the figures.

Reads data/prepared/DATASET.npz, samples/stylegan2-SEED.npz and the extractors' weights in data/raw/EXTRACTOR.
Writes results/stylegan2-SEED/evaluation.json.
"""

import sys
from dataclasses import fields

import numpy as np

from stages.evaluation import extractors
from stages.evaluation.baselines import pca_gaussian
from stages.evaluation.compare import ImageSets, compare
from stages.runtime import params
from stages.runtime.files import write_json
from stages.runtime.images import load_arrays
from stages.runtime.params import Evaluation
from stages.runtime.seeding import numpy_generator
from stages.runtime.stage import UserError, run


def main(seed: int) -> None:
    dataset, settings = params.read("stylegan2.dataset", "evaluation")
    train, test = load_arrays(f"data/prepared/{dataset}.npz", "train_images", "test_images")
    fake, untrained = load_arrays(f"samples/stylegan2-{seed}.npz", "images", "untrained")
    check(train, test, fake, untrained, settings)
    pca = pca_gaussian(train, len(fake), generator=numpy_generator(settings.seed, "pca"))
    images = {"test": test, "train": train, "fake": fake, "untrained": untrained, "pca": pca}
    results = {}
    for name in settings.extractors:
        extractor = extractors.load(name)
        sets = {}
        for kind in (field.name for field in fields(ImageSets)):
            print(f"stylegan2-{seed}: {name} looks at {len(images[kind])} {kind} images", file=sys.stderr, flush=True)
            sets[kind] = extractors.extract(extractor, images[kind], settings.batch_size)
        figures = compare(ImageSets(**sets), settings, fd=extractor.distance, cs=extractor.score)
        results[name] = {**figures, "resize": extractor.resize}
    write_json(f"results/stylegan2-{seed}/evaluation.json", {"protocols": {"clean": results}})


def check(train: np.ndarray, test: np.ndarray, fake: np.ndarray, untrained: np.ndarray, settings: Evaluation) -> None:
    """UserError where the images of the four sets have different shapes or are too few for the settings."""
    shapes = {images.shape[1:] for images in (train, test, fake, untrained)}
    if len(shapes) > 1:
        raise UserError(f"real and generated images differ in shape ({sorted(shapes)}): run `dvc repro`, which samples anew")
    fewest = min(len(test), len(fake))
    if fewest <= settings.neighbours:
        raise UserError(f"evaluation.neighbours is {settings.neighbours}, too many for {fewest} images: lower it or sample more")
    if len(fake) < settings.splits:
        raise UserError(f"evaluation.splits is {settings.splits}, too many for {len(fake)} samples: lower it or sample more")


if __name__ == "__main__":
    run(main)
