"""Compare the faces that StyleGAN2 of one seed generated with real ones, as one extractor sees them, in both protocols.

Reads samples/stylegan2-SEED.npz, data/statistics/EXTRACTOR.npz and the extractor's weights in data/raw/EXTRACTOR.
Writes results/stylegan2-SEED/evaluation-EXTRACTOR.json.

    python -m stages.evaluation.evaluate_stylegan2 0 efficientnet_lite0
"""

from pathlib import Path
from typing import Annotated

import numpy as np

from stages.evaluation import extractors, real
from stages.evaluation.compare import compare, renamed
from stages.evaluation.frechet import moments
from stages.runtime import params
from stages.runtime.errors import UserError
from stages.runtime.files import write_json
from stages.runtime.images import load_arrays
from stages.runtime.stage import run


def main(
    seed: Annotated[int, "seed of the run", "stylegan2.seeds"],
    extractor: Annotated[str, "network whose features are compared", "evaluation.extractors"],
) -> None:
    (settings,) = params.read("evaluation.metrics")
    report, clean, untrained = load_arrays(f"samples/stylegan2-{seed}.npz", "report_images", "clean_images", "untrained_images")
    samples = {"report": report, "clean": clean}
    path, results = f"data/statistics/{extractor}.npz", Path(f"results/stylegan2-{seed}")
    faces = real.load(path, extractor)
    check({**samples, "untrained": untrained}, faces, path)
    real.check(len(faces.features), {protocol: len(images) for protocol, images in samples.items()}, settings)
    network = extractors.load(extractor)

    def words(kind: str) -> str:
        return f"stylegan2-{seed}: {extractor}, {kind} images"

    looks = extractors.chunks(network, untrained, settings.batch_size, words("untrained"))
    beginning = {"clean": moments(part.features for part in looks)}
    protocols = {}
    for protocol, images in samples.items():
        seen = extractors.extract(network, images, settings.batch_size, words(protocol), results)
        figures = compare(seen, faces, protocol, settings, beginning.get(protocol))
        protocols[protocol] = {**renamed(figures, network.distance, network.score), "resize": network.resize}
    write_json(results / f"evaluation-{extractor}.json", {"protocols": protocols})


def check(samples: dict[str, np.ndarray], faces: real.Real, path: str) -> None:
    """UserError where the images differ in shape from the real ones or the statistics are for another number of samples."""
    for kind, images in samples.items():
        if images.shape[1:] != faces.shape:
            raise UserError(
                f"{kind} samples {images.shape[1:]} differ in shape from the real images {faces.shape}: "
                "run `dvc repro`, which samples anew"
            )
    for protocol, figures in faces.figures.items():
        if len(samples[protocol]) != figures["n_fake"]:
            raise UserError(
                f"{path} is for {figures['n_fake']} {protocol} samples, but there are {len(samples[protocol])}: run `dvc repro`"
            )


if __name__ == "__main__":
    run(main)
