"""The row that carries a step's numbers to the host, and the record read from it."""

import numpy as np
import pytest

from mnist_dist.run.tensorboard import SUMMARY_STEPS
from mnist_dist.training import step_records

REPLICAS = 3


def test_a_row_is_read_as_it_was_laid_out():
    rows = np.zeros((4, step_records.width(REPLICAS)), np.float32)
    rows[0] = [0.5, 0.25, 0.0, 0.0, 0.0, 0.0, 7.0]
    rows[1] = [1.5, 0.75, 2.0, 0.0, 1.0, 1.0, 8.0]
    first = SUMMARY_STEPS - 2
    one, two = step_records.unpack(rows, range(first, first + 2))
    assert (one.step, one.loss, one.accuracy) == (first, 0.5, 0.25)
    assert (one.stop_requested, one.nonfinite_replicas) == (False, ())
    assert (two.step, two.loss, two.accuracy) == (first + 1, 1.5, 0.75)
    assert (one.save_requested, two.save_requested) == (False, False)
    assert (two.stop_requested, two.nonfinite_replicas) == (True, (1, 2))


@pytest.mark.parametrize(("stops", "saves"), [(0, 0), (0, 1), (1024, 0), (1024, 1), (1, 2047)])
def test_both_requests_survive_the_sum_over_replicas(stops, saves):
    """Of 2,048 replicas; worker 0 alone asks for a save, on its own devices."""
    sums = np.zeros((), np.float32)
    for replica in range(2048):
        sums += np.float32(step_records.requests(replica < stops, replica < saves))
    rows = np.zeros((1, step_records.width(1)), np.float32)
    rows[0, 2] = sums
    (record,) = step_records.unpack(rows, [0])
    assert (record.stop_requested, record.save_requested) == (stops > 0, saves > 0)


@pytest.mark.parametrize("step", range(2 * SUMMARY_STEPS))
def test_a_norm_that_was_not_computed_is_none(step):
    rows = np.full((1, step_records.width(1)), 2.0)
    (record,) = step_records.unpack(rows, [step])
    assert record.gradient_norm == (2.0 if step in (9, 19) else None)
