"""SLURM's compact host lists; tests/slurm compares them with scontrol."""

import pytest

from mnist_dist.cluster.hostlist import expand_hostlist
from mnist_dist.errors import UsageError


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("n1", ["n1"]),
        ("n[001-003,7]", ["n001", "n002", "n003", "n7"]),
        ("n[9-11]", ["n9", "n10", "n11"]),
        ("n[098-101]", ["n098", "n099", "n100", "n101"]),
        ("rack[1-2]n[1-3]", ["rack1n1", "rack1n2", "rack1n3", "rack2n1", "rack2n2", "rack2n3"]),
        ("n[1-2]-ib", ["n1-ib", "n2-ib"]),
        ("a,b[1,3-5]", ["a", "b1", "b3", "b4", "b5"]),
        ("n10,n2", ["n10", "n2"]),
        ("login-1.site,gpu[2]", ["login-1.site", "gpu2"]),
        ("a[1-2]b[1-2]c[3-4]", [f"a{a}b{b}c{c}" for b in (1, 2) for a in (1, 2) for c in (3, 4)]),
        ("a,,b", ["a", "b"]),
        ("", []),
    ],
)
def test_expands(text, names):
    assert expand_hostlist(text) == names


@pytest.mark.parametrize("text", ["n[1-2", "n1-2]", "n[]", "n[3-1]", "n[a-b]", "n[1,]", "n[1-2-3]"])
def test_refuses(text):
    with pytest.raises(UsageError, match="host list"):
        expand_hostlist(text)
