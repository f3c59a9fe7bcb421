"""How TensorFlow is imported: with oneDNN, without XLA's autotuning and start-up messages.

TensorFlow prints some of these messages at any log level, so they are filtered out.
"""

import contextlib
import os
import re
import resource
import sys
import tempfile
from collections.abc import Iterator, Mapping

from mnist_dist.errors import UsageError

LEAST_ADDRESS_SPACE_BYTES = 3 << 30
"""With less than about 2 GiB TensorFlow aborts on two cores; each thread takes more."""

ONE_DNN_SETTING = re.compile(
    r"(ONEDNN|DNNL)_(MAX_CPU_ISA|CPU_ISA_HINTS|DEFAULT_FPMATH_MODE)|TF_SET_ONEDNN_FPMATH_MODE"
)
"""Environment variables by which oneDNN computes other bits on the same processor."""

START_UP_MESSAGE = re.compile(
    r"^(I\d{4} |WARNING: All log messages before|To enable the following"
    r"|E\d{4} .*failed call to cuInit)"  # on a machine without a GPU, which is no error
)


def one_dnn_has(precision: str) -> bool:
    """Whether oneDNN has kernels of a precision: it has no float64 and no float16."""
    return precision not in ("float64", "mixed_float16")


def one_dnn_settings(environment: Mapping[str, str] = os.environ) -> str:
    """The variables by which oneDNN computes other bits, as NAME=VALUE; empty for none."""
    names = sorted(name for name in environment if ONE_DNN_SETTING.fullmatch(name))
    return " ".join(f"{name}={environment[name]}" for name in names)


def with_autotuning_off(given: str) -> str:
    """XLA's flags with autotuning off: it doubles the compile time on a GPU and gains nothing.

    Args:
        given: XLA_FLAGS of the environment: flags, which take precedence, or a file's name.
    """
    names_a_file = given.strip() and not given.strip().startswith("--")
    if names_a_file or "autotune_level" in given:
        return given
    return f"{given} --xla_gpu_autotune_level=0".strip()


@contextlib.contextmanager
def without_startup_messages(one_dnn: bool = True, wanted: bool = False) -> Iterator[None]:
    """Captures what is written to file descriptor 2 in the block, and drops start-up messages.

    The other lines are written when the block ends, also if it fails.

    Args:
        one_dnn: compute with oneDNN's kernels unless the environment says otherwise. TensorFlow
            itself turns them on only for CPUs with AVX512-VNNI and newer; with AVX2 they train
            the notebook's network twice as fast. `one_dnn_has` tells for which precisions.
        wanted: print the start-up messages after all.

    Raises:
        UsageError: `ulimit -v` is too low for TensorFlow, which would abort.
    """
    _check_address_space()
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1" if one_dnn else "0")
    os.environ["XLA_FLAGS"] = with_autotuning_off(os.environ.get("XLA_FLAGS", ""))
    if wanted:
        yield
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # this program reports failures itself
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
                if line and not START_UP_MESSAGE.match(line):
                    print(line, file=sys.stderr)


def _check_address_space() -> None:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < LEAST_ADDRESS_SPACE_BYTES:
        raise UsageError(
            f"ulimit -v is {limit >> 10} KiB of address space, and TensorFlow needs at least "
            f"{LEAST_ADDRESS_SPACE_BYTES >> 10}; give ulimit -v unlimited"
        )
