"""A run's result as Python shows it."""

import dataclasses

from mnist_dist.run.result import Result


def result(**changes):
    values = {field.name: None for field in dataclasses.fields(Result)}
    given = {"steps": 860, "epochs": 1.0, "train_seconds": 16.04, "stopped": "completed"}
    scores = {"test_accuracy": 0.96841, "validation_accuracy": 0.9714}
    return Result(**{**values, **given, **scores, "weights_sha256": "3fc6092c2be8", **changes})


def test_its_repr_has_the_scores_and_the_length():
    assert repr(result()) == (
        "Result(test 96.84 %, validation 97.14 %, 860 steps (1 epoch, 16.0 s), completed, "
        "weights 3fc6092c)"
    )
    alone = repr(result(test_accuracy=None, epochs=0.25))
    assert alone.startswith("Result(validation 97.14 %, 860 steps (0.25 epochs, ")
