"""docs/walkthrough.md: its links lead to functions, each of which an earlier one calls."""

import ast
import re

import pytest

from tests.pages import ROOT

PAGE = (ROOT / "docs/walkthrough.md").read_text()
LINK = re.compile(r"\[`([\w/]+\.py)`: `([\w.]+)`\]\(\.\./mnist_dist/([\w/]+\.py)\)")
NOT_BY_NAME = {
    "Config.__post_init__": "Config(",
    "Trainset.block": "self.blocks",  # which assembly.blocks makes of it
    "replica_rows": "self.rows(",  # which calls it through _rows
}
"""Functions that their callers don't name -> what stands there."""


def found(path, qualified):
    """The source of a function, or of a class's method."""
    text = (ROOT / "mnist_dist" / path).read_text()
    node = ast.parse(text)
    for name in qualified.split("."):
        kinds = (ast.FunctionDef, ast.ClassDef)
        [node] = [n for n in node.body if isinstance(n, kinds) and n.name == name]
    return ast.get_source_segment(text, node)


def way(heading):
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return [(path, name) for path, name, _ in LINK.findall(section)]


def call(name):
    """How a call of a function, or handing it on, looks in the source of its caller."""
    if name in NOT_BY_NAME:
        return re.escape(NOT_BY_NAME[name])
    return rf"(?<![a-zA-Z]){name.rpartition('.')[2].lstrip('_')}[(,]"


def test_each_link_is_to_the_file_it_names():
    links = re.findall(r"\]\(\.\./mnist_dist/[^)]*\)", PAGE)
    assert len(links) == len(LINK.findall(PAGE)) > 30
    assert [path for path, _, target in LINK.findall(PAGE) if path != target] == []


@pytest.mark.parametrize("heading", ["One training step", "One save", "The way back"])
def test_each_function_is_there(heading):
    assert way(heading)
    for path, name in way(heading):
        assert found(path, name), name


@pytest.mark.parametrize("heading", ["One training step", "One save"])
def test_each_function_is_called_by_an_earlier_one(heading):
    seen = ""
    for path, name in way(heading):
        assert not seen or re.search(call(name), seen), f"{name}: no earlier function calls it"
        seen += found(path, name)
