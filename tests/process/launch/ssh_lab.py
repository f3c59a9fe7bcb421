"""Three hosts with a real sshd on this machine, each with its own network and name.

Needs root and Debian's openssh-server and iproute2.
"""

import os
import shutil
import subprocess
from pathlib import Path

from tests.slurm.cluster import Cluster
from tests.waiting import wait_for

PROGRAMS = ("sshd", "ssh", "ssh-keygen", "ip", "nsenter", "unshare")
SSHD = """\
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
PrintMotd no
"""
SSH = """\
IdentityFile {folder}/key
IdentitiesOnly yes
UserKnownHostsFile {folder}/known_hosts
GlobalKnownHostsFile none
StrictHostKeyChecking yes
"""


def missing() -> str:
    """Why there can be no such hosts here; empty where there can."""
    if os.geteuid() != 0:
        return "hosts of their own need root"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    absent = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    return f"not installed: {', '.join(absent)} (Debian: openssh-server)" if absent else ""


def configure(folder: Path, known_as: str, sshd: str = "", ssh: str = "") -> None:
    """Makes the keys and the files sshd_config, ssh_config and known_hosts.

    Args:
        folder: where.
        known_as: the names of the server or servers, with commas between.
        sshd: further lines of sshd_config.
        ssh: further lines of ssh_config.
    """
    Path("/run/sshd").mkdir(exist_ok=True)  # sshd drops its privileges there
    for name in ("host_key", "key"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name]
        subprocess.run(command, check=True)
    (folder / "sshd_config").write_text(SSHD.format(folder=folder) + sshd)
    (folder / "ssh_config").write_text(SSH.format(folder=folder) + ssh)
    public = " ".join((folder / "host_key.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"{known_as} {public}\n")


class SshLab:
    """Hosts n1, n2, n3 and "ctl", where the launcher runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.network = Cluster(folder, gpus=0)
        self.hosts = self.network.nodes

    def start(self) -> None:
        """Starts the servers; returns when each answers."""
        self.network.start_network()
        configure(self.folder, ",".join([*self.hosts, *map(self.address, self.hosts)]))
        for host in self.hosts:
            self.start_host(host)
        for host in self.hosts:
            self.wait_for_host(host)

    def start_host(self, host: str) -> None:
        """Starts a host's sshd."""
        config = str(self.folder / "sshd_config")
        self.network.daemon("/usr/sbin/sshd", "-D", "-e", "-f", config, inside=host)

    def wait_for_host(self, host: str) -> None:
        """Returns when a host answers."""
        ssh = ["ssh", "-F", str(self.folder / "ssh_config"), "-o", "BatchMode=yes", host, "true"]
        wait_for(f"sshd of {host}", lambda: self.network.run(*ssh).returncode == 0, 120)

    def address(self, host: str) -> str:
        """A host's IPv4 address."""
        return f"{self.network.network}.{self.hosts.index(host) + 1}"

    def kill_host(self, host: str) -> None:
        """Takes a host's network and processes away, as a power cut does."""
        self.network.set_link(host, "down")
        self.network.kill_node(host)

    def revive_host(self, host: str) -> None:
        """Starts a killed host anew."""
        self.network.set_link(host, "up")
        self.start_host(host)
        self.wait_for_host(host)

    def server(self, host: str) -> int:
        """The process of a host's sshd that waits for connections."""
        [server] = [pid for pid in self.network.pids(host) if b"[listener]" in command_line(pid)]
        return server

    def workers(self, host: str) -> list[int]:
        """The processes of a host's workers, and their agents."""
        return [pid for pid in self.network.pids(host) if b"mnist_dist." in command_line(pid)]


def command_line(pid: int) -> bytes:
    """A process's command line; empty for one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
