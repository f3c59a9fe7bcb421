"""Importing TensorFlow: with oneDNN's kernels, and without its greetings.

No log level of its own turns those off.
"""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

GREETING = re.compile(
    r"^(I\d{4} |WARNING: All log messages before|To enable the following"
    r"|E\d{4} .*failed call to cuInit)"  # on a machine without a GPU, which is no error
)


def one_dnn_has(precision: str) -> bool:
    """Whether oneDNN has kernels of a precision: it has no float64 and no float16."""
    return precision not in ("float64", "mixed_float16")


@contextlib.contextmanager
def without_greetings(one_dnn: bool = True, wanted: bool = False) -> Iterator[None]:
    """Holds back what is written to file descriptor 2 meanwhile, and drops the greetings.

    Other lines are written on when the block has ended, also if it failed.

    Args:
        one_dnn: compute with oneDNN's kernels unless the environment says otherwise. TensorFlow
            itself turns them on only for CPUs with AVX512-VNNI and newer; with AVX2 they train
            the notebook's network twice as fast. `one_dnn_has` tells for which precisions.
        wanted: let TensorFlow greet after all.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1" if one_dnn else "0")
    if wanted:
        yield
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # a failure is said once, by us
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            for line in held.read().decode(errors="replace").splitlines():
                if line and not GREETING.match(line):
                    print(line, file=sys.stderr)
