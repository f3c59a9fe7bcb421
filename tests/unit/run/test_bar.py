"""The terminal's last line: what it shows at which width, and when a run will be over."""

import pytest

from mnist_dist.run.bar import Pace, clock, text


def pace():
    return Pace(**{"step": 0, "last": 8600, "batch_size": 64, "steps_per_epoch": 860, "scored": 0})


def running():
    """After a block that was compiled and one that took 0.5 s: 1,280 images/s."""
    found = pace()
    found.advance(10, 20.0, 0.0)
    found.advance(10, 0.5, 0.0)
    return found


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (79, "step 20/8600 |--------------------|, loss 0.1234, 1,280 images/s, 07:09 left"),
        (70, "step 20/8600 |----------|, loss 0.1234, 1,280 images/s, 07:09 left"),
        (59, "step 20/8600, loss 0.1234, 1,280 images/s, 07:09 left"),
        (49, "step 20/8600, loss 0.1234, 07:09 left"),
        (30, "step 20/8600, 07:09 left"),
        (12, "07:09 left"),
    ],
)
def test_what_goes_first(columns, line):
    assert text(running(), "", 0.1234, 429.0, columns) == line


@pytest.mark.parametrize(
    ("step", "bar"), [(0, " " * 10), (1, "\u258f" + " " * 9), (4, "\u258c" + " " * 9),
                      (43, "\u2588" * 5 + "\u258d" + " " * 4), (80, "\u2588" * 10)]
)  # fmt: skip
def test_blocks(step, bar):
    """Of ten columns, in eighths."""
    found = Pace(step, 80, 64, 80, 0, blocks=True)
    assert text(found, "saving", None, None, 31) == f"step {step}/80 |{bar}|, saving"


def test_a_pause_is_named():
    line = text(running(), "evaluating validation 12 s", 0.1234, 429.0, 100)
    assert line == "step 20/8600 |--------------------|, evaluating validation 12 s, 07:09 left"
    line = text(running(), "evaluating validation 12 s", 0.1234, 429.0, 49)
    assert line == "evaluating validation 12 s, 07:09 left"


def test_it_always_fits_and_keeps_the_time():
    for columns in range(10, 120):
        for doing in ("", "saving", "compiling the first block 112 s"):
            line = text(running(), doing, 0.5, 429.0, columns)
            assert len(line) <= columns
            assert line.endswith("07:09 left")


def test_before_the_run():
    assert text(None, "importing TensorFlow 3 s", None, None, 79) == "importing TensorFlow 3 s"
    assert text(None, "importing TensorFlow 3 s", None, None, 9) == "importing"
    assert text(pace(), "compiling", None, None, 40) == "step 0/8600 |----------|, compiling"


def test_nothing_left_is_not_said_before_the_end():
    for left_s in (None, 0.4, -3.0):
        assert "left" not in text(running(), "saving", 0.1, left_s, 79)


def test_the_first_block_says_nothing_of_the_speed():
    found = pace()
    assert (found.images_per_s, found.left_s(0.0)) == (None, None)
    found.advance(10, 20.0, 0.0)  # it was compiled
    assert (found.step, found.images_per_s, found.left_s(0.0)) == (10, None, None)


def test_the_time_left():
    """0.05 s a step; an evaluation and save after every 860 steps, and at the end."""
    found = running()
    assert found.images_per_s == pytest.approx(10 * 64 / 0.5)
    assert found.left_s(0.0) == pytest.approx(8580 * 0.05)
    assert found.left_s(7.0) == pytest.approx(8580 * 0.05 - 7.0)
    found.advance(840, 42.0, 0.0)
    found.advance(10, 0.5, 8.0)  # after a pause of 8 s, of which 9 will follow
    assert found.left_s(0.0) == pytest.approx(7730 * 0.05 + 9 * 8.0)
    found.advance(7730, 7730 * 0.05, 0.0)
    assert found.step == found.last
    assert found.left_s(2.0) == pytest.approx(8.0 - 2.0)  # in the last pause


def test_the_first_pause_is_guessed():
    """A forward pass is a third of a step: 5,000 + 10,000 images of 1,280 images/s times 3."""
    found = Pace(step=0, last=1000, batch_size=64, steps_per_epoch=860, scored=15000)
    found.advance(10, 20.0, 0.0)
    found.advance(10, 0.5, 0.0)
    pauses_s = 2 * 15000 / 1280 / 3  # after the epoch, and after the last step
    assert found.left_s(0.0) == pytest.approx(980 * 0.05 + pauses_s)


def test_a_checkpoint_between_counts_as_training():
    found = running()
    found.advance(10, 0.5, 0.5)
    assert found.images_per_s == pytest.approx(64 * (0.9 * 10 + 10) / (0.9 * 0.5 + 1.0))


def test_the_clock():
    assert [clock(s) for s in (0.4, 59.6, 75, 3700)] == ["00:00", "01:00", "01:15", "1:01:40"]
