"""Blocks of a run: what is due stands at a block's end."""

from mnist_dist.training.plan import Plan


def plan(**changes):
    given = {
        **{"epochs": 3, "max_steps": 0, "steps_per_epoch": 10, "block_steps": 4},
        **{"checkpoint_every_steps": 0, "log_interval": 1},
    }
    return Plan(**{**given, **changes})


def ends(made, step=0):
    blocks = list(made.blocks(step))
    assert [n for block in blocks for n in block] == list(range(step, made.last_step))
    return [block.stop for block in blocks]


def test_blocks_end_with_each_epoch_and_begin_the_next():
    assert ends(plan(epochs=2)) == [4, 8, 10, 12, 16, 20]
    assert ends(plan(epochs=2), step=9) == [10, 12, 16, 20]
    assert ends(plan(epochs=2), step=20) == []


def test_what_is_due_cuts():
    assert ends(plan(epochs=1, checkpoint_every_steps=3)) == [3, 4, 6, 8, 9, 10]
    assert ends(plan(max_steps=13)) == [4, 8, 10, 12, 13]
    assert ends(plan(epochs=2, profiled=range(5, 11))) == [4, 5, 8, 10, 11, 12, 16, 20]


def test_a_checkpoint_by_time():
    """Not where the epoch's end saves anyway, and not without a limit."""
    timed = plan()._replace(checkpoint_every_s=60.0)
    assert [timed.save_request(age_s) for age_s in (59.9, 60.0)] == [False, True]
    assert not plan().save_request(1e9)
    assert timed.save_due(4, requested=True)
    assert not timed.save_due(10, requested=True)
