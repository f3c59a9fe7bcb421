"""The suites: each is a function, and each of its comparisons is a table."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.contest import Comparison, Contestant
from benchmarks.job import Job

OURS = "mnist_dist"
EPOCH_IMAGES = 55_000
TURN_STEPS = {64: 10, 256: 5, 512: 3, 128: 10, 1024: 2}
"""Global batch -> steps of a turn: about half a second of two cores with AVX2."""

WORKERS_TURN_STEPS = {64: 40, 128: 20, 256: 10, 512: 5}
"""The same for two workers. They wait for each other when a turn begins, so turns are longer."""

WORKERS_BLOCK_STEPS = {64: 10, 128: 10, 256: 5, 512: 5}
"""Global batch -> steps of a block; a turn has one block or several."""

TORCH = Contestant("PyTorch, NCHW", "pytorch", needs="torch")
TORCH_LAST = Contestant("PyTorch, channels_last", "pytorch", {"channels_last": True}, needs="torch")
LIMIT = Contestant("limit: one resident batch, no input", "limit")
KERAS = Contestant("Keras fit", "keras_peers")


def ours(name: str = OURS, quick: bool = True, processes: int = 1, **options: Any) -> Contestant:
    """This program with options, such as flags={...}."""
    return Contestant(name, "ours", options, processes=processes, quick=quick)


def pair_of_ours(batch: int, name: str = OURS, **flags: Any) -> Contestant:
    """This program on two workers, with flags."""
    blocks = WORKERS_BLOCK_STEPS.get(batch, 5)
    return ours(name, processes=2, block_steps=blocks, flags=flags)


def two_workers(batch: int) -> Job:
    """The job of two workers at a global batch."""
    return Job(batch, WORKERS_TURN_STEPS.get(batch, 5))


def again(contestant: Contestant) -> Contestant:
    """The control: the same once more. How far its ratio is from 1 is what noise does."""
    return contestant._replace(name=f"{contestant.name}, again (the control)", quick=False)


def step(batches: Sequence[int], precisions: Sequence[str]) -> Iterator[Comparison]:
    """A training step with each program's own input."""
    eager = Contestant("the notebook's eager loop", "keras_peers", {"eager": True}, quick=False)
    peers = (LIMIT, KERAS, TORCH, TORCH_LAST, eager)
    for precision in precisions:
        for batch in batches or (64, 256, 1024):
            job = Job(batch, TURN_STEPS.get(batch, 5), precision)
            everyone = (ours(), again(ours()), *peers)
            yield Comparison(
                f"step, batch {batch}, {precision}", job, everyone, ("step", job.steps)
            )


def epoch(batches: Sequence[int], precisions: Sequence[str]) -> Iterator[Comparison]:
    """Longer stretches of an epoch with input, log and files, against the limit."""
    for precision in precisions:
        for batch in batches or (64, 256):
            job = Job(batch, 10 * max(1, 2500 // (10 * batch)), precision)
            blocks = {"block_steps": 10}
            everyone = (ours(**blocks), again(ours(**blocks)), LIMIT)
            title = f"epoch with input, batch {batch}, {precision}"
            yield Comparison(title, job, everyone, ("step", job.steps))


def workers(batches: Sequence[int], precisions: Sequence[str]) -> Iterator[Comparison]:
    """Two workers with half of the cores each, over loopback."""
    ddp = [
        c._replace(name=c.name.replace("PyTorch", "PyTorch DDP (gloo)"), processes=2)
        for c in (TORCH, TORCH_LAST)
    ]
    for batch in batches or (64, 128, 512):
        pair = pair_of_ours(batch)
        products = pair_of_ours(batch, "this program, --reduce=product", reduce="product")
        alone = pair_of_ours(batch, "limit: two runs, no communication")._replace(together=False)
        everyone = (pair, again(pair), products, alone, *ddp)
        job = two_workers(batch)
        yield Comparison(f"two workers, global batch {batch}", job, everyone, ("step", job.steps))


def communication(batches: Sequence[int], precisions: Sequence[str]) -> Iterator[Comparison]:
    """Two workers, by how the gradients travel."""
    packs, wire = {"bytes_per_pack": 2**20}, {"wire_dtype": "bfloat16"}
    products, factors = {"reduce": "product"}, {"reduce": "factors"}
    variants = {
        "products, packs of 1 MiB": products | packs,
        "products, ring": products | {"collective": "ring"},
        "products, bfloat16": products | wire,
        "products, bfloat16, packs of 1 MiB": products | wire | packs,
        "factors, gathered": factors,
        "factors, all-reduce": factors | {"bytes_per_pack": 2**30},
        "factors, bfloat16": factors | wire,
    }
    for batch in batches or (64,):
        job = two_workers(batch)
        pair = pair_of_ours(batch, "products, float32, one pack", **products)
        others = [pair_of_ours(batch, name, **flags) for name, flags in variants.items()]
        everyone = (pair, again(pair), *others)
        title = f"two workers, gradients travel as, global batch {batch}"
        # What bfloat16 loses on the way changes the losses: all of these are this program.
        yield Comparison(title, job, everyone, ("step", job.steps), checked=False)


def shards(batches: Sequence[int], precisions: Sequence[str]) -> Iterator[Comparison]:
    """What --shards costs one replica, against the undivided batch."""
    for batch in batches or (64, 256, 1024):
        job = Job(batch, TURN_STEPS.get(batch, 5))
        cut = [ours(f"--shards={n}", flags={"shards": n}) for n in (2, 4, 8)]
        everyone = (ours(), again(ours()), *cut)
        yield Comparison(f"shards, batch {batch}", job, everyone, ("step", job.steps))


def worker_shards(batches: Sequence[int], precisions: Sequence[str]) -> Iterator[Comparison]:
    """What --shards costs two workers, with products and with factors."""
    for batch in batches or (64, 256):
        job = two_workers(batch)
        pair = pair_of_ours(batch)
        cut = [
            pair_of_ours(batch, f"--shards={n} --reduce={how}", shards=n, reduce=how)
            for n in (2, 4)
            for how in ("product", "factors")
        ]
        everyone = (pair, again(pair), *cut)
        yield Comparison(f"two workers, shards, batch {batch}", job, everyone, ("step", job.steps))


def checkpoint(batches: Sequence[int], precisions: Sequence[str]) -> Iterator[Comparison]:
    """A save every 20 steps against none; a run saves once an epoch unless told otherwise."""
    for batch in batches or (64,):
        job = Job(batch, 40)
        often = ours("a checkpoint every 20 steps", flags={"checkpoint_every_steps": 20})
        everyone = (ours(block_steps=10), again(ours(block_steps=10)), often)
        blocks = [c._replace(options={**c.options, "block_steps": 10}) for c in everyone]
        yield Comparison(f"checkpoints, batch {batch}", job, blocks, ("step", job.steps))


def startup(batches: Sequence[int], precisions: Sequence[str]) -> Iterator[Comparison]:
    """From a process's start to the end of its first training step."""
    job = Job(64, 1)
    imports = Contestant("limit: importing TensorFlow", "imports", together=False)
    everyone = (ours(), again(ours()), imports, KERAS, TORCH_LAST)
    yield Comparison("start to first step, batch 64", job, everyone, ("start", 1), fresh=True)


def evaluation(batches: Sequence[int], precisions: Sequence[str]) -> Iterator[Comparison]:
    """Loss and accuracy on the 10,000 test images."""
    we = LIMIT._replace(name=OURS)
    for precision in precisions:
        job = Job(64, 1, precision, evaluate=True)
        everyone = (we, again(we), KERAS, TORCH, TORCH_LAST)
        yield Comparison(f"evaluation, {precision}", job, everyone, ("evaluation", 1))


SUITES: dict[str, Callable[[Sequence[int], Sequence[str]], Iterator[Comparison]]] = {
    suite.__name__: suite
    for suite in (
        *(
            step,
            epoch,
            workers,
            communication,
            shards,
            worker_shards,
            checkpoint,
            startup,
            evaluation,
        ),
    )
}
