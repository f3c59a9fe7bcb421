"""For fuzzing readers: what a damaged or hostile file may hold, and what a reader may take."""

import contextlib
import json
import os
import time
import warnings
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from mnist_dist.errors import LONGEST, RunError, UsageError

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
"""How many inputs to try of each kind, drawn anew; by default some, the same each time."""

MOST_S = 2.0  # of the processor
MOST_BYTES = 256 << 20

NASTY = (
    *(b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5_000, b"-1e999", b"NaN", b"Infinity", b"null"),
    *(b"[]", b"{}", b'""', b"\xff\xfe", b"\0", b"", b"\n", b"1" + b"0" * 400, b'"\\ud800"'),
    *(b"true", b"-5", b"1e308", b"1e-320", b'"' + b"x" * 100_000 + b'"', "²".encode()),
)
"""JSON that breaks something, or did."""


def fuzzed(examples=60):
    """Settings of a test that tries many inputs."""
    return settings(
        max_examples=EXAMPLES or examples,
        deadline=None,
        derandomize=not EXAMPLES,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def damaged(draw, good):
    """Bytes of a good file with pieces cut, doubled, overwritten, or replaced altogether."""
    data = draw(st.sampled_from(good)) if isinstance(good, list | tuple) else good
    for _ in range(draw(st.integers(1, 3))):
        first = draw(st.integers(0, len(data)))
        last = min(first + draw(st.sampled_from([0, 1, 2, 4, 8, 60, 10**9])), len(data))
        put = draw(st.sampled_from([b"", data[first:last] * 2, *NASTY]) | st.binary(max_size=12))
        data = data[:first] + put + data[last:]
    return data


@st.composite
def damaged_json(draw, record):
    """A JSON object with some values, at any depth, replaced by nasty ones, as bytes."""
    mark = "@MARK@"

    def changed(value):
        if isinstance(value, dict):
            name = draw(st.sampled_from(sorted(value)))
            how = draw(st.sampled_from(["taken out", "replaced", "inside"]))
            if how == "taken out":
                return {k: v for k, v in value.items() if k != name}
            return {**value, name: mark if how == "replaced" else changed(value[name])}
        return mark

    text = json.dumps(changed(record)).encode()
    return text.replace(f'"{mark}"'.encode(), draw(st.sampled_from(NASTY)))


@contextlib.contextmanager
def bounded():
    """Takes at most MOST_S and MOST_BYTES; ends well or with one line of the package's own."""
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before_bytes, began_s = _peak_bytes(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            yield
        except (UsageError, RunError) as error:
            line = str(error)
            assert line.isprintable()
            assert len(line) <= LONGEST
    assert time.process_time() - began_s < MOST_S
    assert _peak_bytes() - before_bytes < MOST_BYTES


def _peak_bytes():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])
