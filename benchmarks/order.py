"""The order in which contestants are timed."""

import random
from collections.abc import Sequence


def abba(names: Sequence[str], rounds: int, seed: int) -> list[list[str]]:
    """Each round's turns: a random order there and back, so that a drift meets all alike.

    A machine that grows slower by the same amount each turn adds the same to each contestant's
    two turns, whichever order it is.
    """
    chance = random.Random(seed)  # noqa: S311
    orders = [chance.sample(list(names), len(names)) for _ in range(rounds)]
    return [order + order[::-1] for order in orders]
