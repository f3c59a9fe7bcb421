"""A SLURM job as its batch script sees it: nodes and tasks, state, time left, requeueing."""

import re
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mnist_dist.cluster import slurm
from mnist_dist.cluster.hostlist import expand_hostlist
from mnist_dist.errors import UsageError, shorten

ANSWER_S = 60.0
"""The longest wait for an answer of SLURM's commands."""

PROBE_S = 10.0
"""A host that starts no step within this time doesn't answer."""

STEP_NAME = "mnist_dist-train"
"""Of the steps that train, among the job's other steps."""

TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"


class Job(NamedTuple):
    """What SLURM's variables say of a job.

    Attributes:
        number: SLURM's number of it.
        called: its number in SLURM's commands; for an element of an array such as 7_2, since
            `number` of one element is also the number of the whole array.
        nodes: their names, in SLURM's order.
        tasks: of each node.
        gpus: of each task; 0 for none.
        restart: how often the job has been requeued.
        folder: the run's.
    """

    number: str
    called: str
    nodes: tuple[str, ...]
    tasks: tuple[int, ...]
    gpus: int
    restart: int
    folder: Path

    @property
    def workers(self) -> tuple[str, ...]:
        """The host of each task, node by node."""
        pairs = zip(self.nodes, self.tasks, strict=True)
        return tuple(node for node, number in pairs for _ in range(number))

    @property
    def to_go_on(self) -> str:
        """What to set so that another job goes on with this run."""
        return f"MNIST_DIST_RUN_DIR={shlex.quote(str(self.folder))}"


def of(environment: Mapping[str, str], folder: Path) -> Job:
    """Reads SLURM's variables.

    Args:
        environment: of the batch script.
        folder: where the script was submitted.

    Raises:
        UsageError: a heterogeneous job, tasks that would share their GPUs, or a variable that
            isn't SLURM's.
    """
    if slurm.number(environment, "SLURM_HET_SIZE", 1) > 1:
        raise UsageError(
            f"SLURM_HET_SIZE={environment['SLURM_HET_SIZE']}: a run is one step, which can't span "
            "the components of a heterogeneous job; submit a job of one component"
        )
    number = environment["SLURM_JOB_ID"]
    array = environment.get("SLURM_ARRAY_JOB_ID", "")
    called = f"{array}_{environment.get('SLURM_ARRAY_TASK_ID', '0')}" if array else number
    runs = Path(environment.get("MNIST_DIST_RUNS") or folder / "runs")
    name = environment.get("SLURM_JOB_NAME", "mnist_dist")
    nodes = tuple(expand_hostlist(environment["SLURM_JOB_NODELIST"]))
    tasks = _tasks(environment, nodes)
    return Job(
        number=number,
        called=called,
        nodes=nodes,
        tasks=tasks,
        gpus=_gpus(environment, max(tasks)),
        restart=slurm.number(environment, "SLURM_RESTART_COUNT", 0),
        folder=Path(environment.get("MNIST_DIST_RUN_DIR") or runs / f"{name}-{called}"),
    )


def hostfile(environment: Mapping[str, str]) -> list[str]:
    """The host of each task with --distribution=arbitrary and a file of hosts; else empty."""
    if not environment.get("SLURM_DISTRIBUTION", "").startswith("arbitrary"):
        return []
    try:
        return Path(environment.get("SLURM_HOSTFILE", "")).read_text().split()
    except OSError:
        return []


def _tasks(environment: Mapping[str, str], nodes: Sequence[str]) -> tuple[int, ...]:
    """The tasks that srun starts on each node: one, unless sbatch was given a number."""
    given = ("SLURM_NTASKS", "SLURM_NPROCS", "SLURM_NTASKS_PER_NODE")
    if not any(name in environment for name in given):
        return (1,) * len(nodes)
    if "SLURM_TASKS_PER_NODE" not in environment:  # --distribution=arbitrary
        total = slurm.number(environment, "SLURM_NTASKS", len(nodes))
        listed = hostfile(environment) or [nodes[rank % len(nodes)] for rank in range(total)]
        return tuple(listed.count(node) for node in nodes)
    counts = slurm.tasks_of_nodes(environment["SLURM_TASKS_PER_NODE"])
    if len(counts) != len(nodes):
        raise UsageError(
            f"SLURM_TASKS_PER_NODE={shorten(environment['SLURM_TASKS_PER_NODE'])} doesn't fit "
            f"{len(nodes)} nodes; start this with sbatch"
        )
    return tuple(counts)


def _gpus(environment: Mapping[str, str], tasks: int) -> int:
    """The GPUs of each task. Raises UsageError if tasks of a node would use the same ones."""
    per_task = re.search(r"\d+$", environment.get("SLURM_GPUS_PER_TASK", ""))
    if per_task:
        return int(per_task[0])
    on_node = slurm.number(environment, "SLURM_GPUS_ON_NODE", 0)
    if tasks == 1 or not on_node:
        return on_node
    if not environment.get("SLURM_GPU_BIND"):
        raise UsageError(
            f"several tasks on a node ({environment.get('SLURM_TASKS_PER_NODE')}) would all use "
            "the same GPUs; ask for --gpus-per-task=1"
        )
    return 1


class State(NamedTuple):
    """What slurmctld says of a job now.

    Attributes:
        name: such as RUNNING; empty if slurmctld doesn't answer.
        left_s: seconds until the time limit; infinite if there is none.
        preempted: it has to make room for another job.
        can_requeue: requeueing is allowed.
        nodes: that the job has now; those set DOWN are no longer among them.
    """

    name: str = ""
    left_s: float = float("inf")
    preempted: bool = False
    can_requeue: bool = False
    nodes: tuple[str, ...] = ()


def state(job: Job) -> State:
    """Asks slurmctld."""
    said = answer("scontrol", "--oneliner", "show", "job", job.called)
    return parse_state(said, time.time())


def parse_state(text: str, now: float) -> State:
    """Reads the output of `scontrol --oneliner show job`.

    Args:
        text: the output; empty if there was none.
        now: seconds since 1970.
    """
    found = dict(re.findall(r"(?:^| )([A-Za-z]+)=(\S*)", text))
    if "JobState" not in found:
        return State()
    try:
        end = time.mktime(time.strptime(found.get("EndTime", ""), TIME_FORMAT))
    except ValueError:
        end = float("inf")
    return State(
        name=found["JobState"],
        left_s=end - now,
        preempted=found.get("PreemptTime", "None") != "None",
        can_requeue=found.get("Requeue") == "1",
        nodes=tuple(expand_hostlist(found["NodeList"])) if "NodeList" in found else (),
    )


def answer(*command: str) -> str:
    """The output of one of SLURM's commands; empty if it failed or didn't answer."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=ANSWER_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def requeue(job: Job) -> bool:
    """Requeues a job; whether that worked. SLURM's own words go to the log.

    SLURM ends the job's processes as it requeues it, and this command may be one of the first.
    """
    code = subprocess.run(("scontrol", "requeue", job.called), check=False).returncode
    return code == 0 or (code < 0 and state(job).name != "RUNNING")


def overlapping(job: str, host: str) -> list[str]:
    """The srun command of one task on a host, beside whatever runs there."""
    return [
        *("srun", f"--jobid={job}", "--overlap", "--nodes=1", "--ntasks=1", f"--nodelist={host}"),
        *("--cpu-bind=none", "--quiet"),
    ]


def plain(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without the job's options, which srun would apply to each step."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith("SLURM_") or name == "SLURM_CONF"
    }


def answers(job: str, host: str, environment: Mapping[str, str]) -> bool:
    """Whether a step can be started on a host of the job. Takes at most PROBE_S seconds."""
    command = [*overlapping(job, host), "--input=none", "true"]
    try:
        done = subprocess.run(
            command,
            env=plain(environment),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=PROBE_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def end_steps(job: Job) -> None:
    """Kills what is left of a job's training steps on nodes that answer."""
    listed = answer("squeue", "--steps", "--noheader", f"--jobs={job.called}", "--format=%i %j")
    for line in listed.splitlines():
        step, _, name = line.partition(" ")
        if name.strip() == STEP_NAME and step.startswith((f"{job.called}.", f"{job.number}.")):
            answer("scancel", "--signal=KILL", step)


def say(text: str) -> None:
    """Prints a line to the job's log."""
    print(f"train.slurm: {text}", flush=True)
