"""Starts a worker on each of several hosts by ssh, and ends when all have ended: launch/ssh.sh.

The hosts are those of --hosts, of --hostfile, or of the job of PBS, LSF or Grid Engine in which the
command is started. They must share the current folder and --run_dir, and ssh must reach them
without a password.
"""

from mnist_dist import exits

exits.begin(__name__)

import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from mnist_dist.errors import UsageError
from mnist_dist.launch import command, hosts
from mnist_dist.launch.remote import SshStarter
from mnist_dist.launch.ssh_worker import Remote
from mnist_dist.launch.supervisor import Rules, supervise
from mnist_dist.launch.workers import Workers
from mnist_dist.run.command import answered

LAUNCHER = "ssh.sh"


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code of the first worker that failed, or 0."""
    return answered(lambda: _command(argv))


def _command(argv: Sequence[str]) -> int:
    parser = command.parser(
        "launch/ssh.sh", __doc__, "--hosts=n1,n2 --restarts=3 -- --epochs=1 --run_dir=/shared/run"
    )
    parser.add_argument(
        "--hosts", help="names, such as n1,n2 or n[1-4]; n1:2 stands for two workers on n1"
    )
    parser.add_argument(
        "--hostfile", metavar="FILE", help="a host on each line; slots=2 stands for two workers"
    )
    given = parser.parse_args(argv)
    command.checked(given)
    listed = _hosts(given.hosts, given.hostfile)
    config = command.run_config(given)
    setup = os.environ.get("MNIST_DIST_SETUP", "")
    ssh = command.words(os.environ, "MNIST_DIST_SSH", "ssh")
    if not shutil.which(ssh[0]):
        raise UsageError(f"no program '{ssh[0]}' here; install OpenSSH, or set MNIST_DIST_SSH")
    remote = Remote(
        ssh=ssh,
        python=command.words(os.environ, "MNIST_DIST_PYTHON", sys.executable),
        setup=os.path.abspath(setup) if setup else "",
        root=Path(__file__).resolve().parents[1],
        command=command.worker_command(given, []),
        folder=Path(config.meeting_folder).absolute(),
        peer_timeout_s=config.peer_timeout,
    )
    starter = SshStarter(listed, remote, _say)
    rules = Rules(LAUNCHER)
    if given.restarts:
        rules = command.rules(given, LAUNCHER, config)._replace(
            shards=config.shards,
            replicas=lambda: config.virtual_devices or (not config.no_gpu and starter.gpus) or 1,
        )
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # suspended, it would seem dead to the hosts
    return supervise(Workers(LAUNCHER, given.grace), starter, rules)


def _hosts(given: str | None, hostfile: str | None) -> list[hosts.Host]:
    if given and hostfile:
        raise UsageError("--hosts and --hostfile exclude each other; leave one out")
    if given:
        return hosts.listed(given)
    if hostfile:
        return hosts.hostfile(Path(hostfile), f"--hostfile={hostfile}")
    scheduler, found = hosts.of_scheduler(os.environ)
    if not found:
        raise UsageError(
            "no hosts: give --hosts=n1,n2 or --hostfile=FILE, or start it in a job of PBS, LSF or "
            "Grid Engine"
        )
    _say(f"{len(found)} host(s) of this {scheduler} job")
    return found


def _say(text: str) -> None:
    print(f"{LAUNCHER}: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    exits.end(main, needs_output=False)
