"""What the pages say that can be checked: commands, local links, headings. Reads any Markdown."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "launch/**/*.md", "mnist_dist/**/*.md")
    for path in ROOT.glob(pattern)
)

SHELL = ("sh", "bash", "shell", "console")
STARTS = re.compile(
    r"(python3?|pip|sbatch|srun|salloc|scancel|scontrol|launch/|tests/run|\.ci/run|tensorboard|"
    r"apptainer|docker|git|module|pre-commit) ?"
)
"""How a command begins; also one in the midst of a sentence, between backticks."""

Block = tuple[str, list[str]]


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks: language and lines."""
    for match in re.finditer(r"^(```+)([^\n`]*)\n(.*?)^\1\s*$", text, re.M | re.S):
        yield match[2].strip(), match[3].splitlines()


def prose(text: str) -> str:
    """What isn't in a fenced block."""
    return re.sub(r"^(```+)[^\n`]*\n.*?^\1\s*$", "", text, flags=re.M | re.S)


def commands(text: str) -> list[str]:
    """The commands of a page's shell blocks and between backticks, without comments.

    A loop is one command. What is shortened by an ellipsis is none.
    """
    found = [c for language, lines in blocks(text) if language in SHELL for c in _of_shell(lines)]
    for span in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(text)):
        words = span.replace("\\|", "|")
        if STARTS.match(words) and " " in words:
            found.append(words)
    return [command for command in found if not re.search(r"…|\.\.\.(\s|$)", command)]


def _of_shell(lines: list[str]) -> Iterator[str]:
    waiting, depth = "", 0
    for raw in lines:
        line = re.sub(r"(^|\s)#.*", "", raw.removeprefix("$ ")).strip()
        if not line:
            continue
        depth += len(re.findall(r"(?:^|[;\s])do(?:\s|$)", line))
        depth -= len(re.findall(r"(?:^|[;\s])done(?:[;\s]|$)", line))
        goes_on = line.endswith("\\")
        waiting = f"{waiting} {line.removesuffix(chr(92)).strip()}".strip()
        if not goes_on and not depth:
            yield from [waiting] if "done" in waiting.split() else waiting.split(" && ")
            waiting = ""
    assert not waiting, f"a command that doesn't end: {waiting}"


def links(text: str) -> list[str]:
    """The targets of links and pictures, without their titles."""
    bare = re.sub(r"(`+)[^`\n]+\1", "", prose(text))
    inline = re.findall(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)", bare)
    return [*inline, *re.findall(r"^\[[^\]]+\]:\s*(\S+)", bare, re.M)]


def anchors(text: str) -> set[str]:
    """What a link can name after #, as GitHub makes them of headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6}\s+(.+?)\s*#*$", prose(text), re.M):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number, name = 0, slug
        while name in found:
            number += 1
            name = f"{slug}-{number}"
        found.add(name)
    return found
