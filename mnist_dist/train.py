"""Trains: `python -m mnist_dist.train [--flags]`, or `run(Config(...))` from Python."""

import contextlib
import os
import sys
from collections.abc import Mapping

from mnist_dist import flags
from mnist_dist.cluster import job, topology
from mnist_dist.config import Config
from mnist_dist.data import sources
from mnist_dist.devices.startup_messages import one_dnn_has, without_greetings
from mnist_dist.errors import EXIT_SAVED, UsageError
from mnist_dist.network.architecture import Architecture
from mnist_dist.network.describe import table
from mnist_dist.run.command import answered, leave
from mnist_dist.run.console import Console
from mnist_dist.run.result import Result
from mnist_dist.training.stop import Stop


def main(argv: list[str]) -> int:
    """Runs the command line; returns the process's exit code."""
    return answered(lambda: _command(argv), "interrupted; what was saved before is left")


def _command(argv: list[str]) -> int:
    with contextlib.closing(Stop()) as stop:  # whose answers come before any last word
        stop.listen()
        config = flags.parse(argv)
        if config.describe:
            if topology.from_environment(os.environ, config.cluster).is_chief:
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
    where = topology.from_environment(environment or {}, config.cluster)
    with Console(where.is_chief, config.verbosity, config.log_every_s) as console:
        return _run(config, where, job.of(environment or {}), console, stop or Stop())


def _run(
    config: Config, where: topology.Topology, launched: job.Job, console: Console, stop: Stop
) -> Result:
    stop.say = console.notice
    console.stage("reading the data")
    # Files are read before anything is started; TFDS needs TensorFlow, so devices come first.
    data = None if config.dataset else _load(config)
    with without_greetings(one_dnn_has(config.precision), wanted=config.verbosity > 0):
        console.stage("importing TensorFlow")
        import tensorflow as tf

        from mnist_dist import assembly, auto_precision
        from mnist_dist.cluster import session
        from mnist_dist.data.pipeline import Trainset
        from mnist_dist.training import finish, log_header, resume, state
        from mnist_dist.training.loop import Loop
        from mnist_dist.training.steps import Steps

        console.stage("looking for devices")
        tf.config.list_physical_devices()  # the first look greets, too
        console.stage("")
    if where.num_workers > 1:
        console.stage(f"waiting for {where.num_workers - 1} other worker(s)")
    with (
        session.join(
            assembly.wanted(config), assembly.terms(config), where, lambda: stop.name
        ) as joined,
        assembly.claimed(config, where.is_chief, launched) as check_lock,
    ):
        if stop.listening:
            stop.listen()  # again: with other workers TensorFlow takes SIGTERM for itself
        devices, placement = joined.devices, joined.placement
        console.stage("reading the data")
        data = data or _load(config)
        joined.agree("the data", data.fingerprint)
        console.stage("building the network")
        order = assembly.order(config, data)
        plan = assembly.plan(config, order.steps_per_epoch, devices.kind)
        trainset = Trainset(
            data.train,
            order,
            config.accumulate_steps,
            placement.replicas,
            plan.block_steps,
            config.shards,
        )
        precision, why = config.precision, ""
        if precision == "auto":
            precision, why = joined.from_chief(
                lambda: auto_precision.precision(config, data, devices, trainset)
            )
        arithmetic = assembly.arithmetic(config, devices, precision)
        network = assembly.architecture(config, data, arithmetic)
        trained = state.build(devices.strategy, network, assembly.rule(config))
        steps = Steps(devices.strategy, trained, assembly.settings(config, arithmetic.xla))
        files = assembly.files(config, trained.variables, where.is_chief, check_lock, console)
        for line in (
            *log_header.head(joined, arithmetic, why, data.source),
            *assembly.remarks(config),
        ):
            console.line(line)
        loop = Loop(
            plan=plan,
            course=assembly.course(config, order.steps_per_epoch),
            patience=assembly.early_stopping(config),
            data=data,
            trainset=trainset,
            placement=placement,
            steps=steps,
            files=files,
            stop=stop,
            lead=assembly.lead(config, console),
            identity=assembly.identity(config, precision, data),
            origin=assembly.origin(config, network, placement.replicas),
            arithmetic=assembly.bits(devices, arithmetic),
            worker_name=joined.worker_name,
            report_step=joined.report_step,
            blocks=assembly.blocks(config, trainset, placement, devices.kind),
        )
        progress = resume.begin(loop, config.resume, joined.agree, assembly.elsewhere(config))
        facts = finish.Facts(
            num_replicas=placement.replicas,
            num_workers=where.num_workers,
            precision=precision,
            deterministic=arithmetic.deterministic,
            parameters=sum(stage.parameters for stage in network.stages),
            config=config.as_dict(),
        )
        return finish.finish(loop, progress, facts)


def describe(config: Config) -> str:
    """The network as a table; nothing is started and no folder is touched."""
    data = _load(config)
    shape = data.train.images.shape[1:]
    return table(Architecture.from_flags(config.as_dict(), shape, data.num_classes).stages)


def _load(config: Config) -> sources.ImageData:
    return sources.load(*config.data_flags)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
