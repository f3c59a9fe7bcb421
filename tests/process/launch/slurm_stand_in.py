"""A stand-in for srun, scontrol, squeue and scancel, by the name that it is called by.

The folder STAND_IN holds what it answers: `tries.json`, a list with one try after another, each
from a rank to how its task ends (an exit code, a signal's words, or "lost" for never); `job`, what
`scontrol show job` says; `dead`, the hosts that answer nothing. If `no-requeue` exists, `scontrol
requeue` refuses; if `requeue-ends-all` does, it ends by SIGTERM, as the whole job does. It writes
each call to `calls`. A job that is cancelled has that state. A task of the supervisor's standby
runs for real, with the host's name.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mnist_dist.cluster.hostlist import expand_hostlist

FOLDER = Path(os.environ["STAND_IN"])


def option(words: Sequence[str], name: str, default: str = "") -> str:
    """The value of `--name=value`."""
    return next((w.partition("=")[2] for w in words if w.startswith(f"--{name}=")), default)


def read(name: str) -> str:
    """The text of a file in the folder; empty without one."""
    path = FOLDER / name
    return path.read_text() if path.exists() else ""


def srun(words: Sequence[str]) -> int:
    """Starts a step."""
    hosts = option(words, "nodelist").split(",")
    if hosts == [""]:
        hosts = expand_hostlist(os.environ["SLURM_JOB_NODELIST"])
    if set(hosts) & set(read("dead").split()) and option(words, "job-name") == "":
        return 1
    if words[-1] == "true":
        return 0
    if "mnist_dist.launch.standby" in words:
        first = words.index(next(word for word in words if not word.startswith("-")))
        environment = {**os.environ, "SLURM_JOB_ID": "7", "SLURMD_NODENAME": hosts[0]}
        os.execvpe(words[first], words[first:], environment)  # noqa: S606
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as with a dead node: SIGKILL ends it
    number = len(list(FOLDER.glob("try-*")))
    (FOLDER / f"try-{number}").write_text(" ".join(hosts))
    ends = json.loads(read("tries.json"))[number]
    lost, worst = False, 0
    for rank, host in enumerate(hosts):
        end = ends.get(str(rank), 0)
        if end == "lost":
            lost = True
            print(
                f"worker 9 (host x), step 3: worker {rank} (host {host}) is gone", file=sys.stderr
            )
        if end not in (0, "lost"):
            said = end if isinstance(end, str) else f"Exited with exit code {end}"
            print(f"srun: error: {host}: task {rank}: {said}", file=sys.stderr, flush=True)
            worst = max(worst, end if isinstance(end, int) else 137)
    while lost:
        time.sleep(0.1)
    return worst


def scontrol(words: Sequence[str]) -> int:
    """Shows or requeues the job."""
    if words[0] == "requeue":
        if (FOLDER / "requeue-ends-all").exists():
            end_job("COMPLETING")
            os.kill(os.getpid(), signal.SIGTERM)
        return int((FOLDER / "no-requeue").exists())
    print(read("job"))
    return 0 if read("job") else 1


def scancel(words: Sequence[str]) -> int:
    """Cancels the job; a signal to a step does nothing."""
    if words == ["7"]:
        end_job("CANCELLED")
    return 0


def end_job(state: str) -> None:
    """Has the running job be in another state."""
    (FOLDER / "draft").write_text(read("job").replace("RUNNING", state))
    (FOLDER / "draft").rename(FOLDER / "job")


def main(name: str, words: Sequence[str]) -> int:
    """Runs a command; returns its exit code."""
    with (FOLDER / "calls").open("a") as file:
        file.write(f"{name} {' '.join(words)}\n")
    commands = {"srun": srun, "scontrol": scontrol, "scancel": scancel}
    return commands.get(name, lambda _: 0)(words)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[0]).name, sys.argv[1:]))
