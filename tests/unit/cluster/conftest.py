"""Workers as processes, which end with their test."""

import pytest

from tests.unit.cluster.meeting import Worker


@pytest.fixture
def start():
    """Starts workers, and ends those that a failed test left."""
    started = []

    def go(workers, rank, **changes):
        started.append(Worker(workers, rank, **changes))
        return started[-1]

    yield go
    for worker in started:
        worker.process.kill()
        worker.process.communicate()
