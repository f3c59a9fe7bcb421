"""What the launcher tells the agent at the other end of a connection; a shell in ssh's place."""

import json
import sys
from types import SimpleNamespace

import pytest

from mnist_dist.launch import ssh_worker
from mnist_dist.launch.ssh_worker import Remote, SshWorker


@pytest.mark.parametrize("silence_s", [1.0, 15.0])
def test_the_agent_hears_several_times_within_its_patience(tmp_path, monkeypatch, silence_s):
    """1 s is that of the least --peer_timeout. Time is a number here: it moves by 0.05 s."""
    clock = SimpleNamespace(now=100.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(ssh_worker, "time", clock)
    received = tmp_path / "received"
    shell = ["sh", "-c", f'cat > "{received}"', "ssh"]
    remote = Remote(shell, [sys.executable], "", tmp_path, ["train"], tmp_path, 2 * silence_s)
    worker = SshWorker("n1", remote, (), tmp_path / "probe")
    worker.start(0, {}, silence_s)
    seconds, period_s = 30.0, 0.05
    for _ in range(round(seconds / period_s)):
        clock.now += period_s
        assert worker.poll() is None
    worker._process.stdin.close()
    worker.close()
    order, *beats = received.read_text().split("\n")
    assert json.loads(order)["silence_s"] == silence_s
    assert len(beats) - 1 >= 3 * seconds / silence_s
    assert len(beats) - 1 <= seconds / min(1.0, silence_s / 4)
