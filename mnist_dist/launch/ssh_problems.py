"""Explains why a host can't be used, from the output of ssh, its shell or the agent there."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mnist_dist.errors import shorten
from mnist_dist.run.versions import source_digest, versions

NO_SETUP = "mnist_dist-no-setup"
"""Printed on a host that hasn't the file of MNIST_DIST_SETUP."""

SAID = (
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", "it has another host key than known_hosts says"),
    (
        "Host key verification failed",
        "its host key isn't known; run `ssh` to it once and confirm the key, or add it to "
        "known_hosts",
    ),
    ("Permission denied (", "ssh refuses the key; add yours to authorized_keys there"),
    ("Too many authentication failures", "ssh refuses the key; name the right one in ssh_config"),
    ("Could not resolve hostname", "its name can't be found; check it"),
    ("Connection refused", "no ssh server answers there (connection refused)"),
    ("No route to host", "it doesn't answer (no route to host)"),
    ("timed out", "it doesn't answer (timed out)"),
    ("No module named 'mnist_dist", "the package isn't there; share its folder, or install it"),
    ("No module named mnist_dist", "the package isn't there; share its folder, or install it"),
    (NO_SETUP, "it can't read the file of MNIST_DIST_SETUP; give one that all hosts share"),
    ("cd: ", "it has no folder of this name; start in a folder that all hosts share"),
)
"""Text in a line of output -> what is wrong. The first that is found counts."""


def problem(code: int, errors: Sequence[str], python: Sequence[str]) -> str:
    """Why ssh ended before the agent said anything.

    Args:
        code: ssh's exit code.
        errors: lines that it printed.
        python: the interpreter there.
    """
    for part, meaning in SAID:
        if any(part in line for line in errors):
            return meaning
    last = shorten(errors[-1], 200) if errors else "no message"
    if code in (126, 127):
        return f"'{' '.join(python)}' doesn't run there ({last}); set MNIST_DIST_PYTHON"
    return f"ssh ended with exit code {code} ({last})"


def difference(facts: Mapping[str, Any], folder: Path) -> str:
    """How a host differs from this one; empty if it fits.

    Args:
        facts: of its agent.
        folder: that both have to share.
    """
    here = {**versions(), "source": source_digest()}
    there = facts.get("versions", {})
    if there.get("python") != here["python"]:
        return (
            f"Python {there.get('python')} ({facts.get('python')}), here {here['python']}; set "
            "MNIST_DIST_PYTHON to the same one on all hosts"
        )
    for name, version in here.items():
        if there.get(name) != version:
            what = "another source of mnist_dist" if name == "source" else f"{name}"
            return (
                f"{what} {there.get(name)}, here {version}; let all hosts use one installation, or "
                "install the same"
            )
    if not facts.get("folder_seen"):
        return f"{folder} isn't the folder of that name here; give a --run_dir that all share"
    return ""
