"""What a launcher sees of how a training ended."""

import signal

import pytest

from mnist_dist import train
from mnist_dist.errors import RunError, ToldToStop, UsageError


@pytest.fixture(autouse=True)
def _handlers():
    """The command line listens to signals; this process gets its own handlers back."""
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)
    kept = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (UsageError("--lr=x"), 2, "mnist_dist: --lr=x\n"),
        (RunError("worker 1 is gone"), 1, "mnist_dist: worker 1 is gone\n"),
        (ToldToStop("told to stop"), 75, "mnist_dist: told to stop\n"),
        (
            ModuleNotFoundError("No module named 'tensorflow'"),
            2,
            "mnist_dist: No module named 'tensorflow'; install what is missing\n",
        ),
        (
            KeyboardInterrupt(),
            130,
            "mnist_dist: interrupted; what was saved before is left\n",
        ),
    ],
)
def test_each_end_has_its_code_and_its_line(monkeypatch, capsys, raised, code, said):
    def end(*_):
        raise raised

    monkeypatch.setattr(train, "run", end)
    assert train.main([]) == code
    assert capsys.readouterr().err == said
