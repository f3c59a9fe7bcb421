"""The versions that decide the numbers."""

import sys
from importlib import import_module, metadata

from mnist_dist import __version__

PACKAGES = ("tensorflow", "keras", "numpy", "tensorflow-datasets")


def versions() -> dict[str, str]:
    """Of this package, of Python and of the packages that compute or read."""
    found = {name: _version(name) for name in PACKAGES}
    return {"mnist_dist": __version__, "python": sys.version.split()[0], **found}


def version_line() -> str:
    """What `--version` prints: this package's version, then Python's and the other packages'."""
    (name, own), *others = versions().items()
    return f"{name} {own} ({', '.join(f'{package} {found}' for package, found in others)})"


def _version(package: str) -> str:
    """As pip knows it, else as the module says, else "unknown".

    A site's own TensorFlow, or `tensorflow-cpu`, is there without metadata of the name.
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        pass
    try:
        module = import_module(package.replace("-", "_"))
    except ImportError:
        return "unknown"
    return str(getattr(module, "__version__", "unknown"))
