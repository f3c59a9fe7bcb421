"""Lists of hosts as users and schedulers write them."""

import pytest

from mnist_dist.errors import UsageError
from mnist_dist.launch.hosts import Host, hostfile, listed, of_scheduler


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("n1", [("n1", 1)]),
        ("n1,n2", [("n1", 1), ("n2", 1)]),
        ("n[8-10],login", [("n8", 1), ("n9", 1), ("n10", 1), ("login", 1)]),
        ("n1:2,n2", [("n1", 2), ("n2", 1)]),
        ("n1,n1", [("n1", 2)]),
        ("me@n1,10.0.0.7", [("me@n1", 1), ("10.0.0.7", 1)]),
        ("fd13::7,n1", [("fd13::7", 1), ("n1", 1)]),
        ("[::1],::2", [("::1", 1), ("::2", 1)]),
        ("[fd13::7],[fe80::1%eth0],n[1-2]",
         [("fd13::7", 1), ("fe80::1%eth0", 1), ("n1", 1), ("n2", 1)]),
    ],
)  # fmt: skip
def test_a_list(text, hosts):
    assert listed(text) == [Host(*each) for each in hosts]


@pytest.mark.parametrize(
    "text",
    ["", ",", "-oProxyCommand=x", "n 1", "n1:0", "n1:x", "n1:99999", "n[2-1]", "n[1-99999]", "n[1",
     "a;b"],
)  # fmt: skip
def test_a_wrong_list(text):
    with pytest.raises(UsageError, match=r"^--hosts[=:].*; give ") as error:
        listed(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("n1\nn2\n", [("n1", 1), ("n2", 1)]),
        ("# a comment\n\n  n1  # another\r\n\ufeffn2", None),
        ("\ufeffn1\r\nn2\r\n", [("n1", 1), ("n2", 1)]),
        ("n1 slots=2 max_slots=4\nn2 slots=1\n", [("n1", 2), ("n2", 1)]),
        ("n1:3\nn2", [("n1", 3), ("n2", 1)]),
        ("n2\nn1\nn2\nn2\nn1\n", [("n2", 1), ("n1", 1)]),  # a scheduler's, a line for each core
        ("n1 slots=2\nn2\nn1 slots=1\n", [("n1", 3), ("n2", 1)]),
        ("fd13::7\n[fd13::8] slots=2\n", [("fd13::7", 1), ("fd13::8", 2)]),
    ],
)
def test_a_hostfile(tmp_path, text, hosts):
    file = tmp_path / "hosts"
    file.write_text(text, newline="")
    if hosts is None:
        with pytest.raises(UsageError, match="line 4"):
            hostfile(file, "--hostfile=hosts")
        return
    assert hostfile(file, "--hostfile=hosts") == [Host(*each) for each in hosts]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "--hostfile=hosts: 0 hosts; give 1"),
        ("# nothing\n", "0 hosts"),
        ("n1\nn2 n3\n", "line 2 is 'n2 n3'; give a host a line"),
        ("n1 slots=x\n", "line 1 is 'n1 slots=x'"),
        ("n1 slots=1 slots=2\n", "line 1"),
        ("n1 slots=0\n", "'n1:0' is no host"),
        ("-n1\n", "'-n1' is no host"),
        ("\0\n", "is no host"),
    ],
)
def test_a_wrong_hostfile(tmp_path, text, said):
    file = tmp_path / "hosts"
    file.write_text(text)
    with pytest.raises(UsageError) as error:
        hostfile(file, "--hostfile=hosts")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_hostfile_that_cant_be_read(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(UsageError, match=f"--hostfile={path}: .*; give a file"):
            hostfile(path, f"--hostfile={path}")


@pytest.mark.parametrize(
    ("variable", "text", "scheduler"),
    [
        ("PBS_NODEFILE", "n1\nn1\nn2\n", "PBS"),
        ("LSB_DJOB_HOSTFILE", "n1\nn1\nn2\n", "LSF"),
        ("PE_HOSTFILE", "n1 8 all.q@n1 UNDEFINED\nn2 8 all.q@n2 <NULL>\n", "Grid Engine"),
    ],
)
def test_a_schedulers_job(tmp_path, variable, text, scheduler):
    file = tmp_path / "nodes"
    file.write_text(text)
    found = of_scheduler({variable: str(file)})
    assert found == (scheduler, [Host("n1"), Host("n2")])
    with pytest.raises(UsageError, match=f"{variable}="):
        of_scheduler({variable: str(tmp_path / "none")})


def test_no_job():
    assert of_scheduler({"PBS_NODEFILE": ""}) == ("", [])
