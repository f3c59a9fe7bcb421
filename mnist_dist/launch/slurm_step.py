"""Starts the workers of a run as one srun step of a job, and watches them until all have ended."""

import contextlib
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import IO

from mnist_dist.errors import EXIT_FAILED
from mnist_dist.launch.decision import End
from mnist_dist.launch.slurm_job import STEP_NAME, Job, hostfile
from mnist_dist.launch.slurm_report import Report

POLL_S = 0.1
GRACE_S = 20.0
"""How long the others may take to end when one has failed; then they are killed."""

KNOWN_S = 2.0
"""The same, when the ones that haven't ended are those that the others gave up."""

SAVED_S = 200.0
"""The same, when one has saved and left: above srun's own --wait."""

SRUN_S = 5.0
"""How long srun may take to end after it was asked to kill its tasks; with a dead node it hangs."""

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Steps:
    """The steps of a job, one after another. Signals to this process are passed on to the tasks.

    Args:
        job: whose allocation they use.
        command: the program of each task, with its arguments.
        srun_args: further options of srun, from the site.
        environment: of the batch script.
    """

    def __init__(
        self,
        job: Job,
        command: Sequence[str],
        srun_args: Sequence[str],
        environment: Mapping[str, str],
    ) -> None:
        self._job, self._command, self._srun_args = job, command, srun_args
        self._environment = environment
        self._srun: subprocess.Popen[str] | None = None
        self.terminated = False
        for number in SIGNALS:
            signal.signal(number, self._receive)

    def run(self, hosts: Sequence[str], stop_at: float) -> tuple[int, list[End]]:
        """Starts a task on each of the hosts and returns when all have ended.

        Args:
            hosts: one entry for each task.
            stop_at: seconds since 1970 at which the tasks are asked to stop; infinite for never.

        Returns:
            srun's exit code, and how each worker ended.
        """
        words, environment = layout(self._job, hosts, self._environment)
        self._srun = subprocess.Popen(
            ["srun", f"--job-name={STEP_NAME}", "--overlap", "--kill-on-bad-exit=0", "--wait=180",
             *words, *self._srun_args, *self._command],
            env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, errors="replace",
        )  # fmt: skip
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        reader = threading.Thread(target=_read, args=(self._srun.stderr, lines), daemon=True)
        reader.start()
        report = Report(hosts, self._environment.get("MNIST_DIST_HOST_SUFFIX", ""))
        forced = self._watch(report, lines, stop_at)
        reader.join(SRUN_S)
        while not lines.empty():
            report.read(lines.get())
        code = self._srun.wait()
        self._srun = None
        return EXIT_FAILED if code < 0 else code, report.ends(code, forced)

    def _watch(self, report: Report, lines: "queue.SimpleQueue[str]", stop_at: float) -> bool:
        """Waits for srun's end; returns whether it had to be killed."""
        srun, deadline, asked, forced = self._srun, float("inf"), False, False
        while srun is not None and srun.poll() is None:
            with contextlib.suppress(queue.Empty):
                report.read(lines.get(timeout=POLL_S))
            now = time.monotonic()
            if report.failed and not asked:
                # The others know already, or wait for the one that failed: those leave at once.
                self._send(signal.SIGUSR2)
                asked, deadline = True, now + GRACE_S
            if report.only_lost_are_unheard:
                deadline = min(deadline, now + KNOWN_S)
            if (report.stopped or report.waited) and deadline == float("inf"):
                deadline = now + (GRACE_S if report.waited else SAVED_S)
            if time.time() > stop_at:
                self._send(signal.SIGUSR2)
                stop_at = float("inf")
            if now > deadline:
                self._send(signal.SIGKILL if forced else signal.SIGTERM)
                forced, deadline = True, now + SRUN_S
        return forced

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self.terminated = self.terminated or number == signal.SIGTERM
        self._send(signal.SIGUSR2)

    def _send(self, number: int) -> None:
        """Sends srun a signal; it passes SIGUSR2 on and answers SIGTERM by killing its tasks."""
        if self._srun is not None and self._srun.poll() is None:
            self._srun.send_signal(number)


def layout(
    job: Job, hosts: Sequence[str], environment: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """The options and the environment of srun that start a task on each of the hosts.

    Args:
        job: with as many tasks as the hosts or more.
        hosts: one entry for each task.
        environment: of the batch script; its variables are srun's defaults.
    """
    variables = {key: value for key, value in environment.items() if key != "SLURM_EXPORT_ENV"}
    words = []
    if environment.get("SLURM_CPUS_PER_TASK"):  # srun doesn't take it from the job
        words.append(f"--cpus-per-task={environment['SLURM_CPUS_PER_TASK']}")
    elif set(job.tasks) == {1}:
        words.append("--cpu-bind=none")
    listed = hostfile(environment)
    if listed:
        variables.setdefault("MNIST_DIST_HOSTS", ",".join(listed))
    if Counter(hosts) == Counter(job.workers):
        return words, variables
    counts = Counter(hosts)
    words += [f"--nodes={len(counts)}", f"--ntasks={len(hosts)}"]
    if listed:
        kept = job.folder / "hosts"
        order = _kept(listed, counts)
        kept.write_text("".join(f"{host}\n" for host in order))
        variables.update(SLURM_HOSTFILE=str(kept), MNIST_DIST_HOSTS=",".join(order))
    else:
        words.append(f"--nodelist={','.join(counts)}")
    if len(set(counts.values())) == 1:
        words.append(f"--ntasks-per-node={next(iter(counts.values()))}")
    else:
        variables.pop("SLURM_NTASKS_PER_NODE", None)
    if variables.pop("SLURM_GPUS", None):  # of the whole job, which fewer nodes can't give
        words.append(f"--gpus-per-node={environment.get('SLURM_GPUS_ON_NODE', '1')}")
    return words, variables


def _kept(listed: Sequence[str], counts: Counter[str]) -> list[str]:
    left = Counter(counts)
    order = []
    for host in listed:
        if left[host] > 0:
            left[host] -= 1
            order.append(host)
    return order


def _read(stream: IO[str], lines: "queue.SimpleQueue[str]") -> None:
    for line in stream:
        sys.stderr.write(line if line.endswith("\n") else f"{line}\n")
        sys.stderr.flush()
        lines.put(line.rstrip("\n"))
