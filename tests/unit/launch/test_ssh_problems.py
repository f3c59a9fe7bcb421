"""What ssh says, as OpenSSH 9.2 and dash print it, in a line for the user."""

import pytest

from mnist_dist.launch.ssh_problems import difference, problem
from mnist_dist.run.versions import source_digest, versions


@pytest.mark.parametrize(
    ("code", "errors", "said"),
    [
        (255, ["ssh: Could not resolve hostname n9: Name or service not known"], "can't be found"),
        (255, ["ssh: connect to host n1 port 22: Connection refused"], "no ssh server answers"),
        (255, ["ssh: connect to host n1 port 22: Connection timed out"], "timed out"),
        (255, ["Connection timed out during banner exchange"], "timed out"),
        (255, ["ssh: connect to host n1 port 22: No route to host"], "no route to host"),
        (255, ["root@n1: Permission denied (publickey)."], "ssh refuses the key"),
        (255, ["No ED25519 host key is known", "Host key verification failed."], "isn't known"),
        (
            255,
            [
                "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @",
                "Host key verification failed.",
            ],
            "another host key than known_hosts",
        ),
        (2, ["sh: 1: cd: can't cd to /home/me/runs"], "no folder of this name"),
        (127, ["sh: 1: exec: /opt/python: not found"], "'/opt/python' doesn't run there"),
        (1, ["/usr/bin/python: No module named mnist_dist"], "the package isn't there"),
        (2, [], "ssh ended with exit code 2 (no message)"),
    ],
)
def test_why_there_is_no_agent(code, errors, said):
    found = problem(code, errors, ["/opt/python"])
    assert said in found
    assert "\n" not in found


def facts(**changed):
    here = {**versions(), "source": source_digest(), **changed}
    return {"versions": here, "python": "/opt/python", "folder_seen": True}


def test_a_host_that_fits(tmp_path):
    assert difference(facts(), tmp_path) == ""


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"python": "3.12.1"}, "Python 3.12.1 (/opt/python), here 3."),
        ({"tensorflow": "2.20.0"}, "tensorflow 2.20.0, here "),
        ({"mnist_dist": "0.0.9"}, "mnist_dist 0.0.9, here "),
        ({"source": "abc"}, "another source of mnist_dist abc, here "),
    ],
)
def test_what_differs_is_named(tmp_path, changed, said):
    assert difference(facts(**changed), tmp_path).startswith(said)


def test_an_unshared_folder_is_named(tmp_path):
    found = difference({**facts(), "folder_seen": False}, tmp_path)
    assert found.startswith(f"{tmp_path} isn't the folder of that name here")
