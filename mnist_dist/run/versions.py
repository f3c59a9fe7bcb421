"""The versions that can change a run's numbers."""

import hashlib
import sys
from importlib import import_module, metadata
from pathlib import Path

from mnist_dist import __version__

PACKAGES = ("tensorflow", "keras", "numpy", "tensorflow-datasets")


def versions() -> dict[str, str]:
    """Name -> version, of this package, Python and the packages that compute or read data."""
    found = {name: _version(name) for name in PACKAGES}
    return {"mnist_dist": __version__, "python": sys.version.split()[0], **found}


def version_line() -> str:
    """What `--version` prints: this package's version, then Python's and the other packages'."""
    (name, own), *others = versions().items()
    return f"{name} {own} ({', '.join(f'{package} {found}' for package, found in others)})"


def source_digest() -> str:
    """A digest of this package's modules, of 12 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=6)
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _version(package: str) -> str:
    """The version from the package's metadata, else from its module, else "unknown".

    A TensorFlow built by a site, or `tensorflow-cpu`, has no metadata of the name "tensorflow".
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
