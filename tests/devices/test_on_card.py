"""The GPU's ways, on logical CPU devices: to the byte what the CPU's own ways give."""

import pytest

from tests.curves import ROOT, train

FLAGS = ("--max_steps=60", "--steps_per_loop=7", "--validation_size=57500", "--batch_norm")


def bytes_of(run, name):
    return (run.folder / name).read_bytes()


@pytest.mark.parametrize(
    ("devices", "more"),
    [(1, ()), (3, ("--accumulate_steps=2", "--batch_size=50"))],
)
def test_images_that_live_on_the_devices(tmp_path, devices, more):
    """2,500 training images, so epochs end within the 60 steps; uneven batches; evaluations."""
    flags = (f"--virtual_devices={devices}", *FLAGS, *more)
    host = train(tmp_path / "host", *flags)
    card = [f"{ROOT}/tests/devices/on_card.py", "resident,deterministic"]
    resident = train(tmp_path / "resident", *flags, prefix=card)
    assert bytes_of(resident, "out/metrics.jsonl") == bytes_of(host, "out/metrics.jsonl")
    assert resident.result["test_loss"] == host.result["test_loss"]
