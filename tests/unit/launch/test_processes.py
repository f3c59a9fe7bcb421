"""Workers as processes of this machine."""

import sys

import pytest

from mnist_dist.devices import nvidia
from mnist_dist.devices.nvidia import Card
from mnist_dist.launch.processes import LocalStarter

SHOW = "import os; print('sees', os.environ.get('CUDA_VISIBLE_DEVICES', 'all'))"


@pytest.mark.parametrize(
    ("gpus", "workers", "seen"),
    [
        (4, 2, ["a,b", "c,d"]),
        (3, 2, ["a", "b"]),
        (2, 2, ["a", "b"]),
        (4, 1, ["all"]),
        (1, 2, ["all", "all"]),  # too few to divide
        (0, 2, ["all", "all"]),
    ],
)
def test_local_workers_divide_the_gpus(monkeypatch, capsys, gpus, workers, seen):
    """The GPUs are stand-ins, the workers are not."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    cards = tuple(Card("card", uuid, 100, 0, None) for uuid in "abcd"[:gpus])
    monkeypatch.setattr(nvidia, "cards", lambda: cards)
    starter = LocalStarter([sys.executable, "-c", SHOW], workers)
    for worker in starter.start(starter.hosts(again=False)):
        worker.close()
    said = sorted(capsys.readouterr().out.splitlines())
    assert said == [f"[{rank}] sees {each}" for rank, each in enumerate(seen)]
