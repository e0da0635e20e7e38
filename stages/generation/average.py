"""How fast the moving averages of StyleGAN2's training follow it, as functions of the step: there is nothing to resume."""

import math

from stages.runtime import schema

COPIES_END = 24_002


def ema_weight(use: schema.StyleGAN2Train, step: int) -> float | None:
    """How far the averaged networks move towards the trained ones after `step` (from 1); None: not at all.

    `report`: copied at steps 2, 1,002, ..., 24,002, then moved by 1 - decay every 10 steps. `constant`: see `moved`.
    `half_life`: moved every step so that a network's share in the average halves over `ema_half_life` images, but over no more
    than `ema_rampup` of the images so far, lest the average remember the untrained network (Karras et al. 2020a, whose training
    code has it).
    """
    if use.ema == "constant":
        return moved(use.ema_decay, step)
    if use.ema == "half_life":
        limit = math.inf if use.ema_rampup is None else use.ema_rampup * step * use.batch_size
        return 1 - 0.5 ** (use.batch_size / min(use.ema_half_life, limit))
    if step <= COPIES_END:
        return 1.0 if step % 1000 == 2 else None
    return 1 - use.ema_decay if step % 10 == 0 else None


def moved(decay: float, step: int) -> float:
    """By 1 - decay every step, further in the first steps, lest an average remember the untrained networks."""
    return 1 - min(decay, step / (step + 10))
