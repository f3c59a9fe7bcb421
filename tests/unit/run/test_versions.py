"""Versions where packages are there in other ways than pip's."""

import sys
import types
from importlib import metadata

import numpy as np
import pytest

from mnist_dist.run import versions as module
from mnist_dist.run.versions import PACKAGES, versions


@pytest.fixture
def without_metadata(monkeypatch):
    """As where a site has built its packages itself: no metadata of any."""

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(module.metadata, "version", missing)


def test_as_pip_knows_them():
    found = versions()
    assert found["numpy"] == metadata.version("numpy")
    assert set(found) == {"mnist_dist", "python", *PACKAGES}


def test_without_metadata_the_module_says_it(without_metadata, monkeypatch):
    built = types.ModuleType("tensorflow")
    built.__version__ = "2.21.0+site"
    monkeypatch.setitem(sys.modules, "tensorflow", built)
    monkeypatch.setitem(sys.modules, "keras", types.ModuleType("keras"))  # it says nothing
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)  # it isn't there
    found = versions()
    assert found["tensorflow"] == "2.21.0+site"
    assert found["numpy"] == np.__version__
    assert (found["keras"], found["tensorflow-datasets"]) == ("unknown", "unknown")
