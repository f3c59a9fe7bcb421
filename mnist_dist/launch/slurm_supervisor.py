"""Supervises a run inside a SLURM job.

Starts the workers with srun. When one is lost, it restarts all of them from the newest checkpoint,
within the allocation, on the hosts that answer. `decision` has the rules.
"""

import math
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mnist_dist.errors import EXIT_FAILED
from mnist_dist.launch import attempts, slurm_job
from mnist_dist.launch.decision import (
    MOST_KILLS,
    Action,
    Decision,
    End,
    How,
    Situation,
    allowed,
    decide,
)
from mnist_dist.launch.slurm_ending import Ending, advise, names
from mnist_dist.launch.slurm_job import Job, State, say
from mnist_dist.launch.slurm_owner import claim, superseded_by
from mnist_dist.launch.slurm_settings import Run, Settings
from mnist_dist.launch.slurm_step import Steps
from mnist_dist.launch.standby_step import Standby
from mnist_dist.run import store

EARLY_S = 60.0
"""How much earlier than asked SLURM may send the signal."""

WAIT_S = 5.0


class Supervisor:
    """Runs a job's workers until the run is done or there is nothing more to do in this job.

    Args:
        job: whose nodes it uses.
        settings: from the environment.
        run: the trainer's flags.
        environment: of the batch script.
        batch: whether this is the batch script's process, whose end is the job's.
    """

    def __init__(
        self,
        job: Job,
        settings: Settings,
        run: Run,
        environment: Mapping[str, str],
        batch: bool = True,
    ) -> None:
        self._job, self._settings, self._planned, self._batch = job, settings, run, batch
        self._environment = environment
        self._lead_s = run.lead_s
        self._losses: Mapping[str, int] = {}
        self._host = environment.get("SLURMD_NODENAME", "")
        self._step = self._tries = 0
        self._began = time.monotonic()
        self._state = State()
        command = [*settings.python, "-m", "mnist_dist.train", *run.flags]
        self._steps = Steps(job, command, settings.srun_args, environment)
        standby = [*settings.launcher, "-m", "mnist_dist.launch.standby", _log_path(), *run.flags]
        self._standby = Standby(job.number, standby, environment)
        training = len(job.nodes) - settings.spares
        self._most = sum(job.tasks[:training])
        # Where --shards doesn't divide over all of them, fewer train.
        most = allowed(self._most, run.shards, run.replicas(job.gpus)) or self._most
        share = settings.min_nodes / training if settings.min_nodes else 0.5 * most / self._most
        self._least = min(math.ceil(self._most * share), most)
        if environment.get("MNIST_DIST_HOSTS"):  # of all tasks by rank: it fits no other number
            self._least = self._most

    def start(self) -> int:
        """Starts the workers for the first time in this job; returns the batch script's code."""
        claim(self._job, self._host)
        self._state = slurm_job.state(self._job)
        advise(self._job, self._state.left_s, self._lead_s)
        hosts = self._job.workers
        replicas = self._planned.replicas(self._job.gpus)
        most = min(len(hosts), self._most)
        number = allowed(most, self._planned.shards, replicas) or most
        idle = tuple((Counter(hosts) - Counter(hosts[:number])).elements())
        if idle:
            say(f"trains on {names(hosts[:number])}; {self._why_idle(idle)}")
        return self._run(Decision(Action.AGAIN, "", 0, {}, hosts[:number], idle))

    def take_over(self, ends: Sequence[End], losses: Mapping[str, int]) -> int:
        """Continues a run whose supervisor is lost.

        Args:
            ends: of the workers that were running.
            losses: host -> workers lost on it before.
        """
        self._losses = losses
        claim(self._job, self._host)
        slurm_job.end_steps(self._job)
        return self._run(self._after(ends))

    def _run(self, decided: Decision) -> int:
        code = EXIT_FAILED
        stop_at = float("inf")
        try:
            while decided.action is Action.AGAIN:
                self._began = time.monotonic()
                self._keep_standby(decided)
                code, ends = self._steps.run(decided.hosts, stop_at)
                decided = self._after(ends)
                saved = {end.how for end in ends} == {How.SAVED}
                # SLURM sends its signal once; whoever has used it up is told from here.
                stop_at = time.time() + self._state.left_s - self._lead_s if saved else stop_at
            tried_s = time.monotonic() - self._began
            most = self._settings.max_restarts
            known = (self._job, self._state, self._step, code, tried_s, most, self._batch)
            return Ending(*known).finish(decided)
        finally:
            self._standby.close()

    def _after(self, ends: Sequence[End]) -> Decision:
        """Decides what to do after a try; logs it if the run continues here."""
        ways = {end.how for end in ends}
        if ways == {How.DONE} or How.REFUSED in ways:
            return decide(self._situation(ends, (), progress=True))
        self._wait_for_answer()
        if self._state.name != "RUNNING":
            return decide(self._situation(ends, (), progress=True))
        try:
            progress = self._count()
        except OSError as error:
            say(
                f"{error.filename}: {error.strerror}. Tries can't be counted, so there is no "
                "further one; mend it and submit again"
            )
            return Decision(Action.GIVE_UP, "tries can't be counted", 0, self._losses)
        decided = decide(self._situation(ends, self._answering(ends), progress))
        self._losses = decided.losses
        if decided.action is Action.AGAIN:
            tries, most = decided.tries, self._settings.max_restarts
            counted = f", try {tries} of {most} without progress" if tries else ""
            idle = f"; {self._why_idle(decided.idle)}" if decided.idle else ""
            say(
                f"{decided.reason}: goes on from step {self._step} on {names(decided.hosts)}"
                f"{counted}{idle}"
            )
        return decided

    def _situation(self, ends: Sequence[End], hosts: Sequence[str], progress: bool) -> Situation:
        state = self._state
        return Situation(
            ends=ends,
            hosts=hosts,
            losses=self._losses,
            progress=progress,
            tries=self._tries,
            max_restarts=self._settings.max_restarts,
            shards=self._planned.shards,
            replicas=self._planned.replicas(self._job.gpus),
            most_workers=self._most,
            min_workers=self._least,
            time_left_s=state.left_s,
            least_time_s=self._lead_s + EARLY_S,
            stop_requested=self._steps.terminated or state.preempted or state.name != "RUNNING",
            can_requeue=state.can_requeue,
        )

    def _count(self) -> bool:
        """Counts this try in the run's folder; returns whether it left a newer checkpoint."""
        if self._planned.config is None:
            return False
        folder = Path(self._planned.config.checkpoint_dir)
        saved, _ = store.newest(folder)
        self._step = saved.step if saved else 0
        before, damage = attempts.read(folder / attempts.RECORD)
        if damage:
            say(f"{folder / attempts.RECORD} {damage}: earlier tries aren't counted")
        after = attempts.count(before, self._job.number, self._step)
        attempts.write(folder / attempts.RECORD, after)
        self._tries = before.tries if before.job == self._job.number else 0
        return after.tries == 0

    def _wait_for_answer(self) -> None:
        """Asks for the job's state until slurmctld answers and no other supervisor has the run."""
        waiting = False
        while True:
            self._state = slurm_job.state(self._job)
            other = superseded_by(self._job, self._host)
            if self._state.name and (not other or self._state.name != "RUNNING"):
                return
            if not waiting:
                taken_over = f"{other} has taken over the run: waiting for the job's end"
                say(taken_over if other else "slurmctld doesn't answer: waiting")
                waiting = True
            time.sleep(WAIT_S)

    def _answering(self, ends: Sequence[End]) -> tuple[str, ...]:
        """A host for each worker that could be started now: those of the last try first."""
        last = {end.host for end in ends}
        suspects = {end.host for end in ends if end.how in (How.LOST, How.SILENT)}
        if {end.how for end in ends} == {How.FAILED} or not self._batch:  # perhaps srun has failed
            suspects = last
        if suspects:
            slurm_job.end_steps(self._job)
        suspects = (suspects | set(self._job.nodes) - last) & set(self._state.nodes)
        with ThreadPoolExecutor(16) as pool:
            found = pool.map(
                lambda host: slurm_job.answers(self._job.number, host, self._environment), suspects
            )
            silent = {host for host, answer in zip(suspects, found, strict=True) if not answer}
        there = set(self._state.nodes) - silent
        ordered = sorted(self._job.workers, key=lambda host: host not in last)
        return tuple(host for host in ordered if host in there)

    def _keep_standby(self, decided: Decision) -> None:
        """Keeps another node ready to take over."""
        others = [host for host in (*decided.hosts, *decided.idle) if host != self._host]
        state = {"hosts": list(decided.hosts), "losses": dict(self._losses), "batch": self._host}
        self._standby.keep(list(dict.fromkeys(others)), state)

    def _why_idle(self, idle: Sequence[str]) -> str:
        left_out = [host for host in idle if self._losses.get(host, 0) >= MOST_KILLS]
        shards = self._planned.shards
        reason = f"--shards={shards}" if shards else "MNIST_DIST_SPARES"
        others = [host for host in idle if host not in left_out]
        why = {"left out": left_out, reason: others}
        return "idle: " + ", ".join(f"{names(h)} ({text})" for text, h in why.items() if h)


def _log_path() -> str:
    """The job's log, which this process writes to; empty if that is no file."""
    try:
        path = os.readlink("/proc/self/fd/1")
    except OSError:
        return ""
    return path if Path(path).is_file() else ""
