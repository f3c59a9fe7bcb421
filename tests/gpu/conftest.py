"""Tests that need an NVIDIA GPU: skipped by name without one, and never counted as passed."""

import pytest

from mnist_dist.devices import nvidia


def pytest_collection_modifyitems(items):
    lacking = not nvidia.cards()
    for item in items:
        if "tests/gpu" in item.path.as_posix():
            item.add_marker(pytest.mark.gpu)
            if lacking:
                item.add_marker(pytest.mark.skip(reason=f"{item.name} needs a GPU"))
