"""Data that the tests of several folders share."""

import signal

import pytest

from tests.mnist_files import cut


@pytest.fixture(scope="session")
def subset(tmp_path_factory):
    """A folder with the first 3,000 training and 1,003 test images of MNIST, as IDX files."""
    folder = tmp_path_factory.mktemp("subset")
    cut(folder, 3000, 1003)
    return folder


# Under nohup, the processes that tests start would ignore SIGHUP, too.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
