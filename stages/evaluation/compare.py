"""Every figure that compares generated images with real ones, from what one extractor says of them."""

from stages.evaluation.extractors import Activations
from stages.evaluation.frechet import Moments, distance, moments_of
from stages.evaluation.real import Real, kernel_distance, score
from stages.evaluation.scores import precision_recall
from stages.runtime.schema import Metrics


def compare(
    fake: Activations, real: Real, protocol: str, settings: Metrics, untrained: Moments | None = None
) -> dict[str, float | int]:
    """The figures of the samples of a protocol by name, and beside them those of the real images (`real.measure`).

    fd, kid, precision and recall compare the samples with the test images, fd_train with the training images, cs is the
    samples' own. fd_untrained, the distance of the networks that training began with, is there where their moments are.
    """
    known = dict(real.figures[protocol])
    samples = moments_of(fake.features)
    kid_mean, kid_std = kernel_distance(real.features, fake.features, settings)
    precision, recall = precision_recall(real.features, fake.features, settings.neighbours)
    cs, cs_std = score(fake.logits, settings.splits, settings)
    figures = {"fd": distance(samples, real.test), "fd_floor": known["fd_floor"], "fd_train": distance(samples, real.train)}
    if untrained is not None:
        figures["fd_untrained"] = distance(untrained, real.test)
    if "fd_pca" in known:
        figures["fd_pca"] = known["fd_pca"]
    return {
        **figures,
        **{"kid": kid_mean, "kid_std": kid_std, "kid_floor": known["kid_floor"]},
        **{"precision": precision, "precision_ceiling": known["precision_ceiling"]},
        **{"recall": recall, "recall_ceiling": known["recall_ceiling"]},
        **{"cs": cs, "cs_std": cs_std, "cs_real": known["cs_real"]},
        **{"n_real": len(real.features), "n_fake": len(fake), "n_floor": known["n_floor"]},
    }


def renamed(figures: dict[str, float | int], distance: str, score: str) -> dict[str, float | int]:
    """The figures with `fd` and `cs`, also at the beginning of a name, called what an extractor calls them."""
    words = {"fd": distance, "cs": score}
    named = {}
    for name, value in figures.items():
        first, *rest = name.split("_")
        named["_".join([words.get(first, first), *rest])] = value
    return named
