"""Trained on labelled target images: the bound that adaptation works towards, and no method of adaptation itself.

Its `Batches` hold the target's labelled training images, without augmentation, of which it learns from the `share` in the params.
"""

import numpy as np

from stages.adaptation import method
from stages.adaptation.methods import source_only
from stages.runtime.schema import Common, TargetOnly
from stages.runtime.seeding import numpy_generator


class Method(source_only.Method):
    """Learns as source_only does; only what it is given to learn from differs."""

    def start(self, batches: method.Batches, common: Common, settings: TargetOnly, *, compiled: bool = False) -> None:
        if settings.share < 1:
            batches.source.rows = part(len(batches.labels), settings.share)
        super().start(batches, common, settings, compiled=compiled)


def part(count: int, share: float) -> np.ndarray:
    """That share of the rows of `count` images, at least one: the same random draw for every seed, in order."""
    drawn = numpy_generator("share of the target").permutation(count)[: max(1, round(share * count))]
    return np.sort(drawn)
