"""The fastest arithmetic that trains alike."""

import math

import pytest

from mnist_dist.training.precision_choice import Trial, choose


@pytest.mark.parametrize(
    ("others", "name"),
    [
        ((), "float32"),
        ((Trial("b", 5.0, 2.01),), "b"),
        ((Trial("b", 70.0, 2.0),), "float32"),
        ((Trial("b", 9.8, 2.0),), "float32"),  # not worth the coarser numbers
        ((Trial("b", 5.0, 2.05),), "float32"),  # it doesn't train alike
        ((Trial("b", 5.0, math.nan),), "float32"),
        ((Trial("b", 5.0, math.inf),), "float32"),
        ((Trial("b", 5.0, 2.0), Trial("c", 4.9, 2.0)), "c"),
        ((Trial("b", 5.0, 2.0), Trial("c", 5.1, 2.0)), "b"),
        ((Trial("b", 5.0, math.nan), Trial("c", 6.0, 2.0)), "c"),
    ],
)
def test_the_choice(others, name):
    assert choose([Trial("float32", 10.0, 2.0), *others])[0] == name


def test_the_figures_are_named():
    _, why = choose([Trial("float32", 10.0, 2.0), Trial("mixed_bfloat16", 5.004, 2.01)])
    assert why == (
        "measured, ms a step: float32 10.00 (loss 2.0000), mixed_bfloat16 5.00 (loss 2.0100)"
    )
