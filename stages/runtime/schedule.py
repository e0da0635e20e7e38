"""Learning rates as functions of the step, so that there is no schedule to save and resume."""

from torch.optim import Optimizer


def set_lr(optimizer: Optimizer, lr: float, step: int, steps: int, decay: float) -> None:
    """Give `optimizer` the learning rate of step number `step` out of `steps` (from 1).

    It is `lr` until the last share `decay` of the steps, over which it falls linearly towards 0; with `decay` 0 it never falls.
    """
    left = (steps - step + 1) / steps
    for group in optimizer.param_groups:
        group["lr"] = lr * min(1.0, left / decay) if decay else lr
