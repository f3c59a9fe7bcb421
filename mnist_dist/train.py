"""Trains: `python -m mnist_dist.train [--flags]`, or `run(Config(...))` from Python."""

from mnist_dist import exits

exits.begin(__name__, stops=True)

import contextlib
import dataclasses
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_dist import flags
from mnist_dist.cluster import job
from mnist_dist.cluster.topology import Topology, from_environment
from mnist_dist.config import Config
from mnist_dist.data import sources
from mnist_dist.data.checking import workers_per_host
from mnist_dist.data.sources import ImageData
from mnist_dist.devices.startup_messages import one_dnn_has, without_startup_messages
from mnist_dist.errors import EXIT_SAVED, UsageError
from mnist_dist.network import own_file
from mnist_dist.network.architecture import Architecture
from mnist_dist.network.describe import table
from mnist_dist.run.command import answered
from mnist_dist.run.console import Console
from mnist_dist.run.result import Result
from mnist_dist.run.store import Saved
from mnist_dist.training import starting_weights
from mnist_dist.training.starting_weights import StartingWeights
from mnist_dist.training.stop import INTERRUPTED, Stop

if TYPE_CHECKING:
    from mnist_dist.assembly import Assembly
    from mnist_dist.cluster.session import Session
    from mnist_dist.training.loop import Files, Loop


def main(argv: list[str]) -> int:
    """Runs the command line; returns the process's exit code."""
    return answered(lambda: _command(argv), INTERRUPTED)


def _command(argv: list[str]) -> int:
    with contextlib.closing(Stop()) as stop:  # whose answers come before any last word
        stop.listen()
        config = flags.parse(argv)
        if config.describe:
            if from_environment(os.environ, config.cluster).is_chief:
                print(describe(config))
            return 0
        result = run(config, os.environ, stop)
    return EXIT_SAVED if result.stopped == "preempted" else 0


def run(
    config: Config, environment: Mapping[str, str] | None = None, stop: Stop | None = None
) -> Result:
    """Trains, from data to a result.

    Args:
        config: the flags.
        environment: launch variables, such as os.environ; None for this process alone.
        stop: to listen for signals; None leaves them alone.

    Raises:
        UsageError: a flag, the data, a folder or a checkpoint that doesn't fit.
        RunError: a failure at run time.
    """
    if config.describe:
        raise UsageError("--describe trains nothing; call describe(config), or leave it out")
    topology = from_environment(environment or {}, config.cluster)
    with Console(topology.is_chief, config.verbosity, config.log_every_s) as console:
        return _run(config, topology, job.of(environment or {}), console, stop or Stop())


def _run(
    config: Config, topology: Topology, launched: job.Job, console: Console, stop: Stop
) -> Result:
    stop.say = console.notice
    console.stage("reading the data")
    # Files are read before anything is started; TFDS needs TensorFlow, so devices come first.
    data = None if config.dataset else _load(config)
    if config.network and data:
        own_file.read(config.network, data.train.images.shape[1:], data.num_classes)
    located = starting_weights.locate(config.init_from, Path(config.checkpoint_dir), config.resume)
    with without_startup_messages(one_dnn_has(config.precision), wanted=config.verbosity > 0):
        console.stage("importing TensorFlow")
        import tensorflow as tf

        from mnist_dist import assembly, numerics, reduce_choice, run_files
        from mnist_dist.cluster import session
        from mnist_dist.devices import hardware, resources
        from mnist_dist.training import finish, log_header, resume

        console.stage("looking for devices")
        tf.config.list_physical_devices()  # the first call prints messages, too
        console.stage("")
    if topology.num_workers > 1:
        console.stage(f"waiting for {topology.num_workers - 1} other worker(s)")
    devices_wanted, terms = assembly.wanted(config), assembly.terms(config)
    with (
        session.join(devices_wanted, terms, topology, lambda: stop.signal_name) as joined,
        run_files.lock_folders(config, topology.is_chief, launched) as check_lock,
    ):
        if stop.listening:
            stop.listen()  # again: with other workers TensorFlow takes SIGTERM for itself
        console.stage("reading the data")
        data = data or _load(config)
        joined.agree("the data", data.fingerprint)
        console.stage("building the network")
        computing, why = _with_precision(config, data, joined)
        kind, threads = hardware.arithmetic(joined.devices.names[0]), resources.cores()
        computing, product = reduce_choice.settled(computing, kind, threads, joined.difference)
        per_host = 1
        if config.check_every_steps:
            per_host = joined.exchange(socket.gethostname(), workers_per_host)
        made = assembly.assemble(computing, data, joined.devices, workers_per_host=per_host)
        if config.reduce == "factors":
            made.reduce.check()
        joined.agree("the file of --network", str(made.architecture.identity))
        start = _starting_weights(located, data, made, joined)
        identity = {**made.architecture.identity, **start.identity}
        files = run_files.files(config, made.state, topology.is_chief, check_lock, console)
        notes = why, product, numerics.xla_note(config, joined.devices)
        header = log_header.lines(joined, made.arithmetic, made.reduce, data.source, *notes)
        for line in (*header, *run_files.remarks(config)):
            console.line(line)
        loop = _loop(config, data, joined, made, identity, files, stop)
        if loop.bit_checks.scope.line:
            console.line(loop.bit_checks.scope.line)
        other_command = run_files.command_in_new_folder(config)
        progress = resume.begin(
            *(loop, config.resume, joined.agree, other_command),
            start=lambda: start.assign(made.state, console.line),
        )
        facts = finish.Facts(
            num_replicas=joined.placement.replicas,
            num_workers=topology.num_workers,
            precision=computing.precision,
            deterministic=made.arithmetic.deterministic,
            parameters=sum(stage.parameters for stage in made.state.network.stages),
            class_names=list(data.class_names),
            config={**config.as_dict(), **identity},
        )
        return finish.finish(loop, progress, facts)


def _with_precision(config: Config, data: ImageData, joined: "Session") -> tuple[Config, str]:
    """The flags with what --precision=auto is in this run, and why; unchanged otherwise."""
    if config.precision != "auto":
        return config, ""
    from mnist_dist import auto_precision

    replicas = joined.placement.replicas
    precision, why = joined.from_chief(
        lambda: auto_precision.precision(config, data, joined.devices, replicas)
    )
    return dataclasses.replace(config, precision=precision), why


def _starting_weights(
    located: Saved | str, data: ImageData, made: "Assembly", joined: "Session"
) -> StartingWeights:
    """The weights of --init_from, which all workers must have alike."""
    start = starting_weights.read(located, made.state.network, data.class_names)
    joined.agree("the weights of --init_from", start.digest)
    return start


def _loop(  # noqa: PLR0913
    config: Config,
    data: ImageData,
    joined: "Session",
    made: "Assembly",
    more_identity: Mapping[str, str],
    files: "Files",
    stop: Stop,
) -> "Loop":
    """Puts together what the loop works with."""
    from mnist_dist import assembly, run_files
    from mnist_dist.training.loop import Loop

    placement, devices = joined.placement, joined.devices
    return Loop(
        plan=made.plan,
        schedule=made.schedule,
        early_stopping=run_files.early_stopping(config),
        data=data,
        trainset=made.trainset,
        placement=placement,
        steps=made.steps,
        files=files,
        stop=stop,
        save_deadline=run_files.save_deadline_check(config, files.console),
        identity={
            **run_files.identity(config, made.arithmetic.precision, data),
            **more_identity,
        },
        origin=run_files.origin(config, made.architecture, placement.replicas, data.class_names),
        kernels=run_files.kernels(devices, made.arithmetic),
        worker_name=joined.worker_name,
        report_step=joined.report_step,
        bit_checks=run_files.bit_checks(config, made.state, made.arithmetic, joined, made.checking),
        digest_every_steps=config.digest_every_steps,
        blocks=assembly.blocks(config, made.trainset, placement, devices.kind),
    )


def describe(config: Config) -> str:
    """The network as a table; nothing is started and no folder is touched."""
    data = _load(config)
    shape = data.train.images.shape[1:]
    if config.network:
        own = own_file.read(config.network, shape, data.num_classes, seed=config.seed)
        with without_startup_messages(one_dnn_has(config.precision)):
            from mnist_dist.network.own import OwnNetwork

            return table(OwnNetwork(own).stages)
    return table(Architecture.from_flags(config.as_dict(), shape, data.num_classes).stages)


def _load(config: Config) -> ImageData:
    return sources.load(*config.data_flags)


if __name__ == "__main__":
    exits.end(main, needs_output=False)
