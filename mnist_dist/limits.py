"""Checks of single values; Config checks combinations."""

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mnist_dist.errors import UsageError, shorten


def of_type(field: dataclasses.Field[Any], value: Any) -> None:
    """Raises UsageError if `value` isn't of the field's type; a float may be given as an int."""
    kind = float if field.default is None else type(field.default)
    fits = isinstance(value, (float, int) if kind is float else kind)
    items = value if isinstance(value, tuple) else ()
    if (
        not fits
        or isinstance(value, bool) != (kind is bool)
        or not all(type(item) is int for item in items)
    ):
        named = "tuple of int" if kind is tuple else kind.__name__
        raise UsageError(f"--{field.name}={value!r}: give a value of type {named}")


def within(name: str, value: Any, limits: Mapping[str, Any]) -> None:
    """Raises UsageError if `value` of flag `name` isn't within `limits`."""
    low, high, above = limits.get("low"), limits.get("high"), limits.get("above")
    choices = limits.get("choices")
    if isinstance(value, int) and abs(value) >= 2**63:
        raise UsageError(f"--{name}: a number of {value.bit_length()} bits; give one below 2^63")
    if choices and value not in choices:
        raise UsageError(
            f"--{name}={shorten(value)}: allowed are {', '.join(choices)}; give one of them"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"--{name}={value}: give a finite number")
    too_low = (low is not None and value < low) or (above is not None and value <= above)
    if too_low or (high is not None and value > high):
        least = f"at least {low}" if low is not None else f"more than {above}"
        most = f" and at most {high}" if high is not None else ""
        raise UsageError(f"--{name}={value}: out of range; give {least}{most}")


def folder(name: str, value: str) -> str:
    """A folder's path with ~ expanded. Raises UsageError if it can't be one of this machine."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", value):
        raise UsageError(
            f"--{name}={value}: give a folder of this machine's file system; a "
            "checkpoint becomes visible by a rename, which object stores don't do atomically"
        )
    try:
        return str(Path(value).expanduser()) if value.startswith("~") else value
    except RuntimeError as error:
        raise UsageError(f"--{name}={value}: there is no such home; give the whole path") from error
