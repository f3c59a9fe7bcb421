"""`python -m mnist_dist` and `--version`."""

import importlib
import re
from pathlib import Path

import pytest

import mnist_dist
from mnist_dist import __main__ as listing
from mnist_dist.run.versions import PACKAGES

PACKAGE = Path(mnist_dist.__file__).parent
INTERNAL = {"", "bench.child", "local", "ssh", "launch.agent", "launch.slurm", "launch.standby"}
"""The list itself, and what the launchers and the bench start."""


def module(name):
    room = (PACKAGE / name).is_dir()
    return importlib.import_module(".".join(filter(None, ("mnist_dist", name, "__main__" * room))))


def started_by_a_person():
    for path in PACKAGE.rglob("*.py"):
        if 'if __name__ == "__main__":' in path.read_text():
            name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
            yield name.removesuffix("__main__").removesuffix(".")


def test_it_lists_every_command(capsys):
    assert set(started_by_a_person()) - INTERNAL == set(listing.COMMANDS)
    for argv in ([], ["--help"], ["-h"]):
        assert listing.main(argv) == 0
        lines = capsys.readouterr().out.splitlines()
        shown = [m[1] for line in lines if (m := re.match(r"  python -m mnist_dist\.(\S+) ", line))]
        assert shown == list(listing.COMMANDS)


def test_a_commands_name_is_refused(capsys):
    assert listing.main(["train"]) == 2
    assert "unrecognized arguments: train" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", *listing.COMMANDS])
def test_each_command_says_its_version(name, capsys):
    assert module(name).main(["--version"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"mnist_dist {mnist_dist.__version__} (python ")
    assert all(f", {package} " in out for package in PACKAGES)
    assert out.count("\n") == 1
