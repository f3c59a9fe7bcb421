"""The GPU's ways, on logical CPU devices: what the CPU's own ways give."""

import pytest

from tests.curves import ROOT, apart, train

FLAGS = ("--max_steps=60", "--steps_per_loop=7")


@pytest.fixture(scope="module")
def flags(subset):
    """On the subset, whose validation set has 500 images."""
    return (*FLAGS, f"--data_dir={subset}")


def as_on_a_card(word):
    return [f"{ROOT}/tests/devices/on_card.py", word]


@pytest.mark.parametrize(
    ("devices", "more"),
    [(1, ()), (3, ("--accumulate_steps=2", "--batch_size=50"))],
)
def test_images_that_live_on_the_devices(tmp_path, flags, devices, more):
    """2,500 training images, so epochs end within the 60 steps; uneven batches; evaluations."""
    flags = (f"--virtual_devices={devices}", *flags, *more)
    host = train(tmp_path / "host", *flags)
    card = train(tmp_path / "card", *flags, prefix=as_on_a_card("on_devices"))
    metrics = [(run.folder / "out/metrics.jsonl").read_bytes() for run in (card, host)]
    assert metrics[0] == metrics[1]
    assert card.result["weights_sha256"] == host.result["weights_sha256"]


def test_nothing_in_the_program_lacks_a_deterministic_kernel_on_a_cpu(tmp_path, flags):
    """TensorFlow refuses random numbers without a seed then, and operations it has no kernel of."""
    flags = (*flags, "--batch_norm", "--shift_px=2", "--optimizer=adam", "--label_smoothing=0.1")
    plain = train(tmp_path / "plain", *flags)
    other = train(tmp_path / "other", *flags, prefix=as_on_a_card("deterministic"))
    assert apart(other, plain, 10) < 1e-4
