"""The versions that decide the numbers."""

import sys
from importlib import metadata

from mnist_dist import __version__

PACKAGES = ("tensorflow", "keras", "numpy", "tensorflow-datasets")


def versions() -> dict[str, str]:
    """Of this package, of Python and of the packages that compute or read."""
    found = {name: metadata.version(name) for name in PACKAGES}
    return {"mnist_dist": __version__, "python": sys.version.split()[0], **found}
