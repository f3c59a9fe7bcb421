"""Names of classes from a file: a name a line, EMNIST's mapping, or Kuzushiji's class map."""

import re
from pathlib import Path

from mnist_dist import bounded
from mnist_dist.errors import UsageError, shorten

MOST_BYTES = 1 << 20
LONGEST = 40
MAPPING = re.compile(r"(\d{1,5})((?:\s+\d{1,7})+)")
CLASS_MAP = "index,codepoint,char"


def read(path: Path, num_classes: int) -> tuple[str, ...]:
    """Reads the names of classes 0, 1, ….

    Args:
        path: a text in UTF-8 with a name a line; or EMNIST's mapping, whose lines are a label and
            the code points of its characters; or Kuzushiji's CSV with index, codepoint, char.
        num_classes: how many names there must be.

    Raises:
        UsageError: the file can't be read, or doesn't hold that many different, printable names.
    """
    flag = f"--class_names={path}"
    try:
        lines = bounded.read_text(path, MOST_BYTES).removeprefix("\ufeff").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{flag}: can't be read ({reason}); give a text file") from error
    while lines and not lines[-1].strip():
        lines.pop()
    names = _names([line.strip() for line in lines])
    for number, name in enumerate(names, 1):
        if not name or not name.isprintable() or len(name) > LONGEST:
            raise UsageError(
                f"{flag}: line {number} is '{shorten(name, 40)}'; give a printable name of at most "
                f"{LONGEST} characters"
            )
    if len(names) != num_classes:
        raise UsageError(
            f"{flag}: {len(names)} names, and the set has {num_classes} classes; give one name a "
            "line for each class, in order"
        )
    if len(set(names)) != len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"{flag}: '{shorten(double, 40)}' stands there twice; give other names")
    return tuple(names)


def _names(lines: list[str]) -> list[str]:
    matches = [MAPPING.fullmatch(line) for line in lines]
    if lines and all(matches):
        characters = {}
        for match in matches:
            point = int(match[2].split()[0]) if match else 0
            characters[int(match[1]) if match else 0] = (
                chr(point) if point < 0x110000 else f"U+{point:X}"
            )
        return [characters[label] for label in sorted(characters)]
    if lines and lines[0].lower() == CLASS_MAP:
        return [line.split(",", 2)[-1] for line in lines[1:]]
    return lines
