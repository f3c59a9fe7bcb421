"""The file with a user's own network, and what it makes of a network's shape. No TensorFlow."""

import dataclasses
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from mnist_dist import bounded
from mnist_dist.errors import UsageError

MOST_BYTES = 1 << 20
FLAG = re.compile(r"(?P<path>.+\.py):(?P<function>[A-Za-z_]\w*)")


class Row(NamedTuple):
    """A layer in the network's table: its name, output shape, parameters and operations."""

    name: str
    shape: tuple[int, ...]
    parameters: int
    flops: int


@dataclasses.dataclass(frozen=True)
class OwnArchitecture:
    """A user's network: the text that builds it, and for which images.

    Attributes:
        image_shape: (height, width, channels).
        num_classes: number of logits.
        path: the file, as it was named; only messages use it.
        function: the function in the file that returns the Keras model.
        text: the file's content, so that a checkpoint is enough to build the network.
        channels_first: always False.
        precision: Keras's name of the layers' arithmetic.
        seed: decides the initial weights.
    """

    image_shape: tuple[int, int, int]
    num_classes: int
    path: str
    function: str
    text: str
    channels_first: bool = False
    precision: str = "float32"
    seed: int = 0

    @property
    def identity(self) -> dict[str, str]:
        """Name -> value, what decides the run's numbers beyond the flags."""
        digest = hashlib.sha256(self.text.encode()).hexdigest()
        return {"network_file": f"{self.function} in {digest}"}

    @property
    def flag(self) -> str:
        """The flag as it was given."""
        return f"--network={self.path}:{self.function}"

    def load(self) -> Callable[..., Any]:
        """Executes the file and returns the function.

        Raises:
            UsageError: the file fails, or has no such function.
        """
        module = ModuleType("mnist_dist_own_network")
        module.__file__ = self.path
        try:
            exec(compile(self.text, self.path, "exec"), module.__dict__)  # noqa: S102
        except Exception as error:
            raise UsageError(f"{self.flag}: {self.failure(error)}; mend the file") from error
        function = module.__dict__.get(self.function)
        if not callable(function):
            raise UsageError(f"{self.flag}: the file has no function {self.function}; name another")
        found: Callable[..., Any] = function
        return found

    def failure(self, error: Exception) -> str:
        """An error of the file in a line: its last line there, the error's name and text."""
        line, trace = getattr(error, "lineno", None), error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == self.path:
                line = trace.tb_lineno
            trace = trace.tb_next
        place = f"line {line}: " if line else ""
        return f"{place}{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def read(
    flag: str, image_shape: tuple[int, ...], num_classes: int, **changes: Any
) -> OwnArchitecture:
    """Reads the file that --network names.

    Args:
        flag: FILE.py:FUNCTION.
        image_shape: (height, width, channels).
        num_classes: number of classes.
        **changes: more fields of OwnArchitecture.

    Raises:
        UsageError: the file can't be read.
    """
    named = FLAG.fullmatch(flag)
    if named is None:
        raise UsageError(f"--network={flag}: give FILE.py:FUNCTION, such as vit.py:network")
    try:
        text = bounded.read_text(Path(named["path"]), MOST_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"--network={flag}: can't read the file ({reason}); check it") from error
    height, width, channels = image_shape
    shape = (height, width, channels)
    return OwnArchitecture(shape, num_classes, named["path"], named["function"], text, **changes)
