"""A lost peer ends a worker whatever has become of its standard error."""

import os
import select

import pytest

from tests.unit.cluster.meeting import addresses


def closed_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    return [writer]


def full_pipe():
    """A pipe that is full and that nobody reads, as of a launcher that was suspended."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while os.write(writer, b"x" * 65536):
            pass
    except BlockingIOError:
        os.set_blocking(writer, True)
    return [writer, reader]


@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize(
    "stderr", [lambda: [os.open("/dev/full", os.O_WRONLY)], closed_pipe, full_pipe]
)
def test_standard_error_cannot_be_written(start, stderr, lost):
    workers, handles = addresses(2), stderr()
    here = start(workers, 1 - lost, stderr=handles[0])
    there = start(workers, lost)
    for worker in (here, there):
        assert worker.heard() == {"met": workers}
    there.process.kill()
    there.process.communicate()
    here.process.communicate(timeout=30)
    assert here.process.returncode == 1
    for handle in handles:
        os.close(handle)


def test_worker_0_leaves_last(start):
    """TensorFlow's service for all of them is in its process."""
    workers = addresses(3)
    first, *others = [start(workers, rank) for rank in range(3)]
    for worker in (first, *others):
        assert worker.heard() == {"met": workers}
    first.tell("goodbye")
    for worker in others:
        worker.tell("part")
    for worker in others:
        assert worker.heard() == {"left": True}
    for worker in others:
        assert select.select([first.process.stdout], [], [], 0.5)[0] == []
        worker.process.kill()
        worker.process.communicate()
    assert first.heard() == {"left": True}
    assert first.end() == (0, "")
