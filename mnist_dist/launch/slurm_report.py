"""How the tasks of a SLURM step ended, from what srun and the workers write on standard error."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from mnist_dist.cluster.hostlist import expand_hostlist
from mnist_dist.errors import UsageError
from mnist_dist.launch.accusation import accusation
from mnist_dist.launch.decision import End, How, how

TASKS_ENDED = re.compile(r"srun: error: (\S+): tasks? ([\d,-]+): (.+)")
NODES_FAILED = re.compile(
    r"srun: error: (?:Node failure on (\S+)|Task launch for \S+ failed on node (\S+):)"
)
EXIT_CODE = re.compile(r"Exited with exit code (\d+)")
WAITED = "srun: First task exited"
ENDED_BY_SLURM = re.compile(
    r"srun: (First task exited|forcing job termination|Job step aborted|Force Terminated)"
    r"|slurmstepd\S*: error: \*\*\* STEP \S+ ON \S+ CANCELLED"
)
"""SLURM kills what is left of the step."""

NO_PROGRAM = ("slurmstepd: error: execve(", "No module named ")
REQUESTS = ("Terminated", "Hangup", "Interrupt", "User defined signal")
"""Signals that ask for an end; another signal's cause may be the host."""

REQUEST_CODES = (129, 130, 138, 140, 143)
"""A shell's exit codes for them."""


class Report:
    """Reads standard error line by line.

    Args:
        workers: the host of each task as far as it is known beforehand; srun's lines correct it.
        suffix: MNIST_DIST_HOST_SUFFIX, which the workers' messages have behind a node's name.

    Attributes:
        failed: a task has failed.
        stopped: a task has saved and left because it was told to stop.
        waited: srun has killed tasks that went on long after another had ended.
    """

    def __init__(self, workers: Sequence[str], suffix: str = "") -> None:
        self.failed = self.stopped = self.waited = False
        self._no_program = self._ended_by_slurm = False
        self._workers, self._suffix = tuple(workers), suffix
        self._ended = dict[int, tuple[str, How]]()
        self._accused = dict[int, tuple[str, How]]()
        self._votes = Counter[int]()
        self._failed_nodes = set[str]()

    def read(self, line: str) -> None:
        """Takes one line into account."""
        if line.startswith(NO_PROGRAM[0]) or NO_PROGRAM[1] in line:
            self._no_program = True
        if match := TASKS_ENDED.match(line):
            self._end(match)
        elif match := NODES_FAILED.match(line):
            self._failed_nodes.update(_hosts(match[1] or match[2]))
            self.failed = self._ended_by_slurm = True
        elif accused := accusation(line):
            host = accused.host.removesuffix(self._suffix)
            self._accused[accused.rank] = (host, How.SILENT if accused.silent else How.LOST)
            self._votes[accused.rank] += 1
        self.waited = self.waited or line.startswith(WAITED)
        self._ended_by_slurm = self._ended_by_slurm or bool(ENDED_BY_SLURM.match(line))

    @property
    def unheard(self) -> set[int]:
        """Ranks of which srun hasn't said how they ended; an exit code of 0 isn't said."""
        return set(range(len(self._workers))) - set(self._ended)

    @property
    def only_lost_are_unheard(self) -> bool:
        """Whether each worker that isn't known to have ended was given up by the others."""
        given_up = set(self._accused) | {
            rank for rank, host in enumerate(self._workers) if host in self._failed_nodes
        }
        return self.failed and self.unheard <= given_up

    def ends(self, code: int, forced: bool) -> list[End]:
        """How each worker ended.

        Args:
            code: srun's exit code.
            forced: srun was killed: the workers it said nothing about are lost.
        """
        if code == 0 and not forced:
            return [End(rank, host, How.DONE) for rank, host in enumerate(self._workers)]
        silent = self._silent()
        hosts = self._hosts_of_unheard()
        ends = []
        for rank in range(len(self._workers)):
            host, way = self._ended.get(rank, ("", How.DONE))
            if rank in self.unheard:
                host = next(hosts)
                if forced or host in self._failed_nodes:
                    way = self._accused.get(rank, ("", How.LOST))[1]
                elif not self._ended:  # srun itself failed
                    way = How.FAILED
            elif rank == silent and way is How.FAILED:
                way = How.SILENT
            ends.append(End(rank, host, self._refused(way)))
        return ends

    def _end(self, match: re.Match[str]) -> None:
        """Some tasks of some nodes have ended in one way."""
        hosts, ranks = _hosts(match[1]), list(_numbers(match[2]))
        code = EXIT_CODE.match(match[3])
        if code:
            number = int(code[1])
            way = How.FAILED if number in REQUEST_CODES else how(number)
        else:
            way = How.FAILED if match[3].startswith(REQUESTS) else How.KILLED
        if way is How.KILLED and self._ended_by_slurm:
            way = How.FAILED
        for rank in ranks:
            known = self._workers[rank] if rank < len(self._workers) else ""
            host = hosts[0] if len(hosts) == 1 or known not in hosts else known
            self._ended[rank] = (host, way)
        self.stopped = self.stopped or way is How.SAVED
        self.failed = self.failed or way is not How.SAVED

    def _refused(self, way: How) -> How:
        return How.REFUSED if self._no_program and way is How.FAILED else way

    def _silent(self) -> int | None:
        """The one worker that more of the others gave up than any other; None without one."""
        if any(way in (How.KILLED, How.REFUSED) for _, way in self._ended.values()):
            return None
        (first, most), (_, next_most) = (self._votes.most_common(2) + [(-1, 0)] * 2)[:2]
        return first if most > next_most else None

    def _hosts_of_unheard(self) -> Iterator[str]:
        """The hosts of the workers that srun said nothing about, by rank."""
        left = Counter(self._workers)
        left.subtract(host for host, _ in self._ended.values())
        for rank in sorted(self.unheard):
            accused = self._accused.get(rank, ("", How.LOST))[0]
            choices = (accused, self._workers[rank], *self._workers)
            host = next((host for host in choices if left[host] > 0), self._workers[rank])
            left[host] -= 1
            yield host


def _hosts(text: str) -> list[str]:
    try:
        return expand_hostlist(text)
    except UsageError:
        return [text]


def _numbers(text: str) -> Iterator[int]:
    """`0-2,5` as 0, 1, 2, 5."""
    for piece in text.strip(",").split(","):
        first, _, last = piece.partition("-")
        yield from range(int(first), int(last or first) + 1)
