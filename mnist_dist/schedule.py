"""The course of the learning rate."""

import math

from mnist_dist.config import Config


def learning_rate(config: Config, step: int, steps_per_epoch: int) -> float:
    """The learning rate of global step `step` (from 0); a schedule ends with the last epoch.

    constant: the peak, after the warm-up. cosine: half a cosine from the peak to 0 (Loshchilov
    and Hutter 2017, without restarts). step: a tenth after each third of the rest. onecycle: a
    straight line up and a straight line down to 0, warm-up 30 % unless --warmup_steps says
    otherwise (Smith and Topin 2018, without their last leg).
    """
    total = config.epochs * steps_per_epoch
    warmup = config.warmup_steps
    if config.schedule == "onecycle" and not warmup:
        warmup = round(0.3 * total)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    done, rest = step - warmup, max(total - warmup, 1)
    past = min(done / rest, 1.0)
    factor = {
        "constant": 1.0,
        "onecycle": 1.0 - past,
        "cosine": (1.0 + math.cos(math.pi * past)) / 2.0,
        "step": 0.1 ** min(3 * done // rest, 2),
    }[config.schedule]
    return config.lr * factor
