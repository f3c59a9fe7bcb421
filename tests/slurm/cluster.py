"""A real SLURM on this machine: a controller and nodes, each with its own network, name and hosts.

Everything is in network namespaces of its own (the controller's too), with its own munge key and
folders, so nothing of the machine is changed and a SLURM that is there isn't touched. Needs root
and Debian's slurm-wlm, munge and iproute2.
"""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path

import psutil

from tests.waiting import wait_for

PREFIX = "mdist"
NUMBERS = itertools.count()
IPV6 = Path("/proc/sys/net/ipv6").exists()
IPV6_NETWORK = "fd13:77::"
DAEMONS = ("slurmctld", "slurmd", "munged", "ip", "nsenter", "unshare")
CONFIG = """\
ClusterName=mdist
SlurmctldHost=ctl({network}.254)
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
MailProg=/bin/true
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdTimeout=300
KillWait=60
MinJobAge=3600
UnkillableStepTimeout=60
SchedulerParameters=sched_interval=2
TreeWidth=65533
GresTypes=gpu
{nodes}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=5
PartitionName=low Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=grace Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=60
PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=9 PreemptMode=OFF
"""


def missing() -> str:
    """Why no cluster can be made here; empty where it can."""
    if os.geteuid() != 0:
        return "a SLURM of its own needs root"
    absent = [name for name in DAEMONS if shutil.which(name, path=_PATH) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (Debian: slurm-wlm munge iproute2)"
    return ""


_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class Cluster:
    """Nodes n1, n2, ... and the controller "ctl", where commands are given.

    Args:
        folder: for its files; removed by nobody.
        nodes: how many.
        cpus: of each node, as SLURM is to believe.
        gpus: of each node, pretended: SLURM binds them to tasks.
    """

    def __init__(self, folder: Path, nodes: int = 3, cpus: int = 4, gpus: int = 2) -> None:
        self.folder = folder
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "TF_CONFIG"))},
            "PATH": _PATH,
            "SLURM_CONF": str(folder / "slurm.conf"),
        }
        self._cpus, self._gpus = cpus, gpus
        own = f"{PREFIX}{os.getpid()}-{next(NUMBERS)}"  # a process may have several clusters
        self._namespaces = {name: f"{own}-{name}" for name in ["ctl", *self.nodes]}
        self.network = "10.213.77"
        self._daemons: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Brings all of it up; returns when each node is idle. Takes some seconds."""
        self.start_network()
        key, socket = self.folder / "munge.key", self.folder / "munge.socket"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        self.daemon(
            "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={socket}",
            f"--log-file={self.folder}/munged.log", f"--pid-file={self.folder}/munged.pid",
            f"--seed-file={self.folder}/munged.seed",
        )  # fmt: skip
        wait_for("munge's socket", socket.exists, 60)
        self.daemon("slurmctld", "-D", "-c")
        for node in self.nodes:
            self.start_node(node)
        wait_for("idle nodes", lambda: self._states() == {"idle"}, 120)

    def start_network(self) -> None:
        """Makes the nodes' networks and names, and starts nothing there."""
        remove_leftovers()
        self.folder.chmod(0o755)
        self._write_files()
        self._link()

    def start_node(self, node: str) -> None:
        """Starts a node's slurmd."""
        self.daemon("slurmd", "-D", "-N", node, inside=node)

    def stop(self) -> None:
        """Ends every process of it and removes its networks."""
        for namespace in self._namespaces.values():
            remove_namespace(namespace)
        for daemon in self._daemons:
            daemon.wait()
        self._daemons.clear()

    def run(
        self,
        *command: str,
        inside: str = "ctl",
        cwd: Path | None = None,
        timeout_s: float = 240,
        environment: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command on the controller or, with `inside`, in a node's network."""
        return subprocess.run(
            [*self._entering(inside), *command],
            env={**self.environment, **(environment or {})},
            cwd=cwd or self.folder,
            timeout=timeout_s,
            capture_output=True,
            text=True,
            check=False,
        )

    def popen(self, *command: str, inside: str = "ctl", cwd: Path) -> subprocess.Popen[str]:
        """Starts a command whose output (both streams) is read by the caller."""
        return subprocess.Popen(
            [*self._entering(inside), *command],
            env=self.environment,
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def call(self, *command: str, environment: dict[str, str]) -> int:
        """Runs a command on the controller with this process's own streams and folder.

        Args:
            command: the program and its arguments.
            environment: variables that are set besides the cluster's.

        Returns:
            Its exit code.
        """
        return subprocess.call(
            [*self._entering("ctl"), *command], env={**self.environment, **environment}
        )

    def ask(self, *command: str) -> str:
        """Output of a command that has to succeed."""
        done = self.run(*command)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")
        return done.stdout.strip()

    def job(self, number: str) -> dict[str, str]:
        """What `scontrol show job` says of a job."""
        words = self.ask("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait_state(self, number: str, *states: str, deadline_s: float = 240) -> dict[str, str]:
        """Waits until a job is in one of the states, such as COMPLETED."""
        wait_for(
            f"job {number} in state {' or '.join(states)}",
            lambda: self.job(number)["JobState"] in states,
            deadline_s,
        )
        return self.job(number)

    def pids(self, node: str) -> list[int]:
        """The processes in a node's network."""
        return namespace_pids(self._namespaces[node])

    def add_name(self, name: str, node: str) -> None:
        """Gives a node one more name, known to all from now on: of its IPv6 address alone."""
        number = self.nodes.index(node) + 1
        address = f"{IPV6_NETWORK}{number}" if IPV6 else f"{self.network}.{number}"
        with (self.folder / "hosts").open("a") as file:
            file.write(f"{address} {name}\n")

    def set_link(self, node: str, state: str) -> None:
        """Cuts a node off ("down") or connects it again ("up")."""
        self._ip("-n", self._namespaces["ctl"], "link", "set", f"to-{node}", state)

    def kill_node(self, node: str) -> None:
        """Kills everything on a node, its slurmd too, as a loss of power does."""
        kill_all(self._namespaces[node])

    def set_down(self, node: str) -> None:
        """Tells SLURM that a node is lost, as an operator does."""
        self.ask("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")

    def revive(self, node: str) -> None:
        """Starts a killed node again, or resumes one that is cut off; waits until SLURM has it."""
        if not self.pids(node):
            self.start_node(node)
        self.set_link(node, "up")

        def responds() -> bool:
            state = self.ask("sinfo", "-h", "-N", "-n", node, "-o", "%T").split()[0]
            if "down" in state:
                self.run("scontrol", "update", f"NodeName={node}", "State=RESUME")
            return "*" not in state and "down" not in state

        wait_for(f"node {node}", responds, 120)

    def cancel_all(self) -> None:
        """Ends all jobs; returns when none is left."""
        self.run("scancel", "--full", "--signal=KILL", "--user=root")
        self.run("scancel", "--user=root")
        wait_for("an empty queue", lambda: not self.ask("squeue", "-h"), 120)

    def _states(self) -> set[str]:
        done = self.run("sinfo", "-h", "-N", "-o", "%T")
        return set(done.stdout.split()) if done.returncode == 0 else set()

    def _entering(self, name: str) -> list[str]:
        # Not `ip netns exec`: it hides /sys/fs/cgroup, and slurmd then refuses to start.
        script = (
            f"mount --make-rprivate / && mount --bind {self.folder}/hosts /etc/hosts && "
            f'hostname {name} && exec "$@"'
        )
        network = f"--net=/var/run/netns/{self._namespaces[name]}"
        return ["nsenter", network, "unshare", "--mount", "--uts", "sh", "-c", script, name]

    def daemon(self, *command: str, inside: str = "ctl") -> None:
        """Starts a process that `stop` ends."""
        with (self.folder / f"{Path(command[0]).name}-{inside}.out").open("ab") as output:
            self._daemons.append(
                subprocess.Popen(
                    [*self._entering(inside), *command],
                    env=self.environment,
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            )

    def _write_files(self) -> None:
        addresses = {name: f"{self.network}.{i}" for i, name in enumerate(self.nodes, start=1)}
        addresses["ctl"] = f"{self.network}.254"
        lines = [f"{address} {name} {name}-ib" for name, address in addresses.items()]
        (self.folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
        nodes = "\n".join(
            f"NodeName={name} NodeAddr={addresses[name]} CPUs={self._cpus} RealMemory=20000 "
            f"Gres=gpu:{self._gpus} State=UNKNOWN"
            for name in self.nodes
        )
        text = CONFIG.format(folder=self.folder, network=self.network, nodes=nodes)
        (self.folder / "slurm.conf").write_text(text)
        for number in range(self._gpus):
            os.mknod(self.folder / f"gpu{number}", 0o20666, os.makedev(1, 3))  # as /dev/null
        gpus = f"Name=gpu File={self.folder}/gpu[0-{self._gpus - 1}]\n"
        (self.folder / "gres.conf").write_text(gpus if self._gpus else "")
        (self.folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
        (self.folder / "state").mkdir()

    def _link(self) -> None:
        for namespace in self._namespaces.values():
            self._ip("netns", "add", namespace)
            self._ip("-n", namespace, "link", "set", "lo", "up")
        center = self._namespaces["ctl"]
        self._ip("-n", center, "link", "add", "bridge", "type", "bridge")
        self._ip("-n", center, "address", "add", f"{self.network}.254/24", "dev", "bridge")
        self._ip("-n", center, "link", "set", "bridge", "up")
        for number, node in enumerate(self.nodes, start=1):
            namespace, wire = self._namespaces[node], f"to-{node}"
            self._ip(
                "-n", center, "link", "add", wire, "type", "veth",
                "peer", "name", "eth0", "netns", namespace,
            )  # fmt: skip
            self._ip("-n", center, "link", "set", wire, "master", "bridge", "up")
            self._ip(
                "-n", namespace, "address", "add", f"{self.network}.{number}/24", "dev", "eth0"
            )
            self._ip("-n", namespace, "link", "set", "eth0", "up")
            if IPV6:
                address = f"{IPV6_NETWORK}{number}/64"
                self._ip("-n", namespace, "address", "add", address, "dev", "eth0", "nodad")

    @staticmethod
    def _ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def namespace_pids(namespace: str) -> list[int]:
    """The processes in a named network namespace."""
    listed = subprocess.run(
        ["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False
    )
    return [int(word) for word in listed.stdout.split()]


def kill_all(namespace: str) -> None:
    """Kills what runs in a network namespace as one: none is left to report another's death.

    All are stopped first, and children die before their parents: the kernel would wake a stopped
    child whose parent ends, and srun's second process cancels a step whose srun has ended.
    """
    stopped: set[int] = set()

    def still() -> bool:
        fresh = set(namespace_pids(namespace)) - stopped
        _signal(fresh, signal.SIGSTOP)
        stopped.update(fresh)
        return not fresh

    def empty() -> bool:
        alive = [pid for pid in namespace_pids(namespace) if _alive(pid)]
        _signal(sorted(alive, key=_ancestors, reverse=True), signal.SIGKILL)
        return not alive

    wait_for(f"all processes in {namespace} to stand still", still, 30)
    wait_for(f"the end of all processes in {namespace}", empty, 30)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _ancestors(pid: int) -> int:
    try:
        return len(psutil.Process(pid).parents())
    except psutil.NoSuchProcess:
        return 0


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def remove_namespace(namespace: str) -> None:
    """Kills what runs in a network namespace, then removes it and with it its interfaces."""
    if (Path("/var/run/netns") / namespace).exists():
        kill_all(namespace)
        subprocess.run(["ip", "netns", "delete", namespace], check=True)


def remove_leftovers() -> None:
    """Takes down clusters whose maker was killed before it could do so."""
    for path in Path("/var/run/netns").glob(f"{PREFIX}*-*"):
        owner = path.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            remove_namespace(path.name)
