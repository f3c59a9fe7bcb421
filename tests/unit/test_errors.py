"""A message is one line of bounded length, whatever was given."""

import pytest

from mnist_dist.errors import LONGEST, RunError, UsageError, shorten
from tests.unit.hostile import bounded


def test_shorten_keeps_both_ends():
    assert shorten("x" * 80) == "x" * 80
    assert shorten("abcdefghijklmnop", 12) == "abcde...mnop"
    assert shorten(10**30, 13) == "100000...0000"


@pytest.mark.parametrize("kind", [UsageError, RunError])
def test_a_message_is_one_line_of_bounded_length(kind):
    assert str(kind("a\nb\x1b[31m\0\u2028c\r")) == r"a\nb\x1b[31m\x00\u2028c\r"
    assert str(kind("99 % ± 0.1: größer")) == "99 % ± 0.1: größer"
    error = kind("given: " + 20_000_000 * "9" + "; give a number")
    with bounded():
        text = str(error)
    assert len(text) == LONGEST
    assert text.startswith("given: 9")
    assert text.endswith("9; give a number")
    assert len(str(kind("\0" * 5000))) == LONGEST
