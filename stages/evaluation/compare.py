"""Every figure that compares generated images with real ones, from the activations of one extractor."""

from dataclasses import dataclass

import numpy as np

from stages.evaluation.extractors import Activations
from stages.evaluation.frechet import Moments, distance, moments_of
from stages.evaluation.scores import classifier_score, kid, precision_recall
from stages.runtime.params import Evaluation
from stages.runtime.seeding import numpy_generator


@dataclass(frozen=True)
class ImageSets:
    """Activations of the test and training images, the samples, and the two things that samples must beat."""

    test: Activations
    train: Activations
    fake: Activations
    untrained: Activations
    pca: Activations


def compare(sets: ImageSets, settings: Evaluation, *, fd: str = "fd", cs: str = "cs") -> dict[str, float | int]:
    """The figures by name; `fd` and `cs` are what the extractor's Fréchet distance and classifier score are called.

    fd, kid, precision and recall compare the samples with the test images, fd_train with the training images. The floors
    put min(samples, training images) randomly drawn training images in the samples' place: what a perfect generator
    would get. cs_real is that of the test images, in parts about as large as the samples' parts, since the score grows
    with the size of a part.
    """
    floor = sets.train.take(_draw(len(sets.train), min(len(sets.fake), len(sets.train)), settings.seed))
    test = moments_of(sets.test.features)
    real_splits = max(1, round(settings.splits * len(sets.test) / len(sets.fake)))
    kid_mean, kid_std = _kid(sets.test, sets.fake, settings)
    precision, recall = precision_recall(sets.test.features, sets.fake.features, settings.neighbours)
    score, score_std = _score(sets.fake, settings.splits, settings)
    return {
        fd: _distance(sets.fake, test),
        f"{fd}_floor": _distance(floor, test),
        f"{fd}_train": _distance(sets.fake, moments_of(sets.train.features)),
        f"{fd}_untrained": _distance(sets.untrained, test),
        f"{fd}_pca": _distance(sets.pca, test),
        "kid": kid_mean,
        "kid_std": kid_std,
        "kid_floor": _kid(sets.test, floor, settings)[0],
        "precision": precision,
        "recall": recall,
        cs: score,
        f"{cs}_std": score_std,
        f"{cs}_real": _score(sets.test, real_splits, settings)[0],
        "n_real": len(sets.test),
        "n_fake": len(sets.fake),
        "n_floor": len(floor),
    }


def _draw(count: int, size: int, seed: int) -> np.ndarray:
    return numpy_generator(seed, "floor").choice(count, size, replace=False)


def _distance(activations: Activations, test: Moments) -> float:
    return distance(moments_of(activations.features), test)


def _kid(real: Activations, fake: Activations, settings: Evaluation) -> tuple[float, float]:
    generator = numpy_generator(settings.seed, "kid")
    size = settings.kid_subset_size
    return kid(real.features, fake.features, subsets=settings.kid_subsets, size=size, generator=generator)


def _score(activations: Activations, splits: int, settings: Evaluation) -> tuple[float, float]:
    return classifier_score(activations.logits, splits=splits, generator=numpy_generator(settings.seed, "score"))
