"""Which snapshot of a training to keep: rules by name, none of which needs a label.

Each but `last` scores what a classifier says of target training images, and takes the snapshot with the highest score:

    confident_share             the share of images to which one digit is given with more than CONFIDENCE (French et al. 2018)
    target_entropy              the least mean entropy of the predictions (Morerio et al. 2018)
    soft_neighbourhood_density  how many neighbours images have of whom the same is said (Saito et al. 2021)

They are for methods that train on target images without labels. One that sees no target in training has nothing to score, and
the bound has seen the labels of the very images: of these two kinds the last step is kept, whatever the rule.
"""

from collections.abc import Mapping
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from stages.adaptation.method import Method, in_batches
from stages.runtime.schema import SelectionName

RULES = get_args(SelectionName)
LAST = "last"
UNSEEN = ("source_only", "target_only")
# Target training images that are scored, the first ones; their order is random.
MOST = 1000
CONFIDENCE = 0.968
TEMPERATURE = 0.05


def rules_for(method: str) -> tuple[str, ...]:
    """The rules that can choose among a method's snapshots."""
    return (LAST,) if method in UNSEEN else RULES


def scores(model: Method, images: np.ndarray) -> dict[str, float]:
    """By rule, the score of a classifier on target training images (n, 28, 28, 3) uint8, of which it takes up to MOST."""
    probabilities = in_batches(model.predict, images[:MOST]).double().softmax(dim=1)
    return {
        "confident_share": confident_share(probabilities),
        "target_entropy": -mean_entropy(probabilities),
        "soft_neighbourhood_density": soft_neighbourhood_density(probabilities),
    }


def choose(scored: Mapping[int, Mapping[str, float]], rule: str) -> int:
    """The step whose scores please a rule most, of equal ones the latest; `scored` has at least one."""
    return max(scored, key=lambda step: (0.0 if rule == LAST else scored[step][rule], step))


def confident_share(probabilities: Tensor) -> float:
    """The share of rows (n, classes) whose largest probability is above CONFIDENCE."""
    return (probabilities.amax(dim=1) > CONFIDENCE).double().mean().item()


def mean_entropy(probabilities: Tensor) -> float:
    """Mean entropy, in nats, of rows (n, classes) of probabilities."""
    return torch.special.entr(probabilities).sum(dim=1).mean().item()


def soft_neighbourhood_density(probabilities: Tensor) -> float:
    """Mean entropy of each row's similarities to all others, of rows (n, classes) (Saito et al. 2021, equations 2 to 4).

    Rows are normalised; their products over TEMPERATURE go through a softmax that leaves each row itself out. Predictions are
    the features, as in the authors' code. 0 of fewer than three rows, since one neighbour is always the only one.
    """
    if len(probabilities) < 3:
        return 0.0
    rows = torch.nn.functional.normalize(probabilities)
    similarities = (rows @ rows.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    return mean_entropy(similarities.softmax(dim=1))
