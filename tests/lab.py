"""Runs a command in a lab on this machine, which is taken down afterwards. Needs root.

    python -m tests.lab slurm -- COMMAND ...
    python -m tests.lab ssh -- COMMAND ...

slurm: a real SLURM of three nodes n1, n2 and n3 (tests/slurm/cluster.py); the command runs on the
controller's host, where sbatch, srun and squeue work. ssh: three hosts n1, n2 and n3 with a real
sshd (tests/process/launch/ssh_lab.py); MNIST_DIST_SSH is the ssh that reaches them. Each host has a
network of its own; disks, processes and cores are this machine's. The exit code is the command's.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.process.launch import ssh_lab
from tests.slurm import cluster


def main() -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("lab", choices=("slurm", "ssh"))
    parser.add_argument("command", nargs="+", help="after --; it may have a -- of its own")
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    command = sys.argv[at + 1 :]  # argparse would take a second -- out
    given = parser.parse_args([*sys.argv[1:at], *(["COMMAND"] if command else [])])
    reason = (cluster if given.lab == "slurm" else ssh_lab).missing()
    if reason:
        parser.error(reason)
    with tempfile.TemporaryDirectory(prefix=f"mnist_dist-{given.lab}-") as name:
        folder, environment = Path(name), dict[str, str]()
        if given.lab == "slurm":
            hosts = cluster.Cluster(folder)
            start = hosts.start
        else:
            lab = ssh_lab.SshLab(folder)
            hosts, start = lab.network, lab.start
            environment["MNIST_DIST_SSH"] = f"ssh -F {folder}/ssh_config"
        try:
            start()
            return hosts.call(*command, environment=environment)
        finally:
            hosts.stop()


if __name__ == "__main__":
    sys.exit(main())
