"""Builds a run's files from the flags, and what those files record of the run."""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from mnist_dist.cluster.job import Job
from mnist_dist.cluster.session import Session
from mnist_dist.config import Config
from mnist_dist.data.checking import Checking
from mnist_dist.data.sources import ImageData
from mnist_dist.devices import hardware, resources
from mnist_dist.devices.arithmetic import Arithmetic
from mnist_dist.devices.strategy import Devices
from mnist_dist.flags import command_line
from mnist_dist.network.architecture import Architecture
from mnist_dist.network.own_file import OwnArchitecture
from mnist_dist.run import lock
from mnist_dist.run.checkpoint import Checkpoints
from mnist_dist.run.console import Console
from mnist_dist.run.events import Events
from mnist_dist.run.owner import Owner
from mnist_dist.run.trace import Trace
from mnist_dist.training import bit_kinds
from mnist_dist.training.bit_checks import BitChecks
from mnist_dist.training.bit_kinds import Scope
from mnist_dist.training.early_stopping import EarlyStopping
from mnist_dist.training.loop import Files
from mnist_dist.training.save_deadline import SaveDeadlineCheck
from mnist_dist.training.state import State


def lock_folders(
    config: Config, chief: bool, job: Job
) -> contextlib.AbstractContextManager[Callable[[], None]]:
    """Locks the run's folders for this run; worker 0 (the chief), which writes, holds the locks.

    Yields a function that raises RunError if another run has taken one of them.

    Raises:
        UsageError: another run has one of them, or it isn't writable.
    """
    folders = {"--checkpoint_dir": config.checkpoint_dir, "--output_dir": config.output_dir}
    return lock.held(folders if chief else {}, Owner.this_process(*job))


def files(
    config: Config,
    state: State,
    chief: bool,
    check_lock: Callable[[], None],
    console: Console,
) -> Files:
    """The run's checkpoints, event files, console and trace; only worker 0 (the chief) writes.

    Args:
        config: the flags.
        state: what is saved.
        chief: whether this is worker 0.
        check_lock: what `lock_folders` yielded.
        console: where messages go.
    """
    return Files(
        Checkpoints(
            config.checkpoint_dir,
            state.variables,
            config.keep_checkpoints,
            chief,
            check_lock,
            state.old_names,
        ),
        Events((config.output_dir or config.checkpoint_dir) if chief else ""),
        console,
        Trace(config.output_dir if chief else "", config.profiled),
    )


def save_deadline_check(config: Config, console: Console) -> SaveDeadlineCheck:
    """Warns when saving takes longer than the scheduler gives between its signal and the end."""
    return SaveDeadlineCheck(config.stop_lead_s, console.notice)


def early_stopping(config: Config) -> EarlyStopping:
    """When training stops before its last epoch."""
    return EarlyStopping(config.patience, config.monitor, config.min_delta)


def kernels(devices: Devices, arithmetic: Arithmetic) -> dict[str, str]:
    """What decides the last bits of a run besides its flags: name -> value."""
    chosen = {"data_format": arithmetic.layout, "xla": "on" if arithmetic.xla else "off"}
    return {**chosen, **hardware.arithmetic(devices.names[0])}


def bit_checks(
    config: Config,
    state: State,
    arithmetic: Arithmetic,
    joined: Session,
    checking: Checking | None,
) -> BitChecks:
    """The comparisons of bits between replicas, and of the steps that compute a part twice.

    Only replicas of one kind of hardware promise equal bits; without --shards, the number of
    threads decides bits, too. All workers call it, since they exchange their kinds.
    """
    threads = "" if config.shards else f", {resources.cores()} threads"
    names = joined.devices.names
    kinds = [", ".join(hardware.arithmetic(name).values()) + threads for name in names]
    if not arithmetic.deterministic:
        kinds = []
    kind = "hardware" if config.shards else "hardware and number of threads"
    report = {"devices": list(names), "kinds": kinds}
    scope = Scope(*joined.exchange(report, lambda reports: bit_kinds.scope(reports, kind)))
    return BitChecks(joined.placement, state.variables, kinds, scope, joined.exchange, checking)


def identity(config: Config, precision: str, data: ImageData) -> dict[str, Any]:
    """What decides the run's numbers. A checkpoint with another identity is of another run."""
    return {**config.numbers(), "precision": precision, "data": data.fingerprint}


def command_in_new_folder(config: Config) -> Callable[[Iterable[str]], str]:
    """From the names of the flags in which two runs differ to a command that keeps both runs."""

    def command(names: Iterable[str]) -> str:
        words = (f"{name}{getattr(config, name, '')}" for name in names)
        name = "-".join(re.sub(r"[^0-9A-Za-z.]+", "_", word).strip("_") for word in words)[:80]
        runs = Path(config.run_dir).parent if config.run_dir else Path("runs")
        folders = (runs / (f"{name}-{number}" if number > 1 else name) for number in count(1))
        return command_line(config, str(next(path for path in folders if not path.exists())))

    return command


def origin(
    config: Config,
    network: Architecture | OwnArchitecture,
    replicas: int,
    class_names: Sequence[str],
) -> dict[str, Any]:
    """What a checkpoint records of its run, so that the folder alone is enough to use it."""
    return {
        "network": dataclasses.asdict(network),
        "replicas": replicas,
        "class_names": list(class_names),
        "config": config.as_dict(),
    }


def remarks(config: Config) -> list[str]:
    """Remarks in the log on combinations of flags that change what is computed."""
    found = []
    if config.batch_norm and config.accumulate_steps > 1:
        found.append("Batch statistics are those of each micro-batch, not of the global batch.")
    if config.shards:
        found.append(f"Shards: {config.shards}; the bits don't depend on the number of replicas.")
    return found
