"""Trained on labelled target images: the bound that adaptation works towards, and no method of adaptation itself.

Its `Batches` hold the target's labelled training images, without augmentation, of which it learns from the `share` in the params.
"""

from dataclasses import replace

import torch

from stages.adaptation import method
from stages.adaptation.methods import source_only
from stages.runtime.schema import Common, TargetOnly
from stages.runtime.seeding import numpy_generator


class Method(source_only.Method):
    """Learns as source_only does; only what it is given to learn from differs."""

    def start(self, batches: method.Batches, common: Common, settings: TargetOnly) -> None:
        super().start(part(batches, settings.share), common, settings)


def part(batches: method.Batches, share: float) -> method.Batches:
    """That share of the labelled images, at least one: the same random draw for every seed, in the images' order."""
    count = len(batches.images)
    drawn = numpy_generator("share of the target").permutation(count)[: max(1, round(share * count))]
    index = torch.from_numpy(drawn).sort().values.to(batches.images.device)
    return replace(batches, images=batches.images[index], labels=batches.labels[index])
