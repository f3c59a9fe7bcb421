"""Builds the API reference from the docstrings of what a user imports, as HTML.

Usage: python docs/api.py FOLDER
Needs the extra `docs` (pdoc). Any warning ends it with an error.
"""

import dataclasses
import importlib
import sys
import warnings
from pathlib import Path

import pdoc

from mnist_dist.config import Config

MODULES = (
    "mnist_dist",
    r"!mnist_dist\.",  # its other modules are internal
    "mnist_dist.train",
    "mnist_dist.config",
    "mnist_dist.run.result",
    "mnist_dist.use.model",
    "mnist_dist.errors",
)


def build(folder: Path) -> None:
    """Writes the pages; index.html leads to all of them."""
    importlib.import_module("mnist_dist.use.model")  # TensorFlow has warnings of its own
    warnings.simplefilter("error")
    flags = (f"    {f.name}: {f.metadata['help']}." for f in dataclasses.fields(Config))
    Config.__doc__ = "\n".join([Config.__doc__ or "", "", "Attributes:", *flags])
    pdoc.render.configure(docformat="google", show_source=False)
    pdoc.pdoc(*MODULES, output_directory=folder)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
