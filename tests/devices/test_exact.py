"""--shards: the same bits on any number of replicas, workers, threads and micro-batches.

5,003 images of MNIST and a global batch of 50: the 101st step has 3 images, so most of its shards
have none. All comparisons are ==. MNIST_DIST_EXACT=whole trains the whole table, some 20 minutes;
two and four workers: tests/slurm/test_exact_on_slurm.py.
"""

import hashlib
import os

import numpy as np
import pytest

from mnist_dist.training.weights_digest import WEIGHTS
from tests.curves import SEVERAL, SLOW_BFLOAT16, train, train_each, train_on, two_at_a_time
from tests.mnist_files import cut

STEPS = 104
COMMON = (
    *("--shards=8", "--conv_filters=4,8", "--kernel_size=3", "--dense_units=32", "--dropout=0.5"),
    *("--validation_size=0", "--batch_size=50", f"--max_steps={STEPS}"),
)
CLIPPED = ("--clip_norm=0.5", "--ema=0.9", "--label_smoothing=0.1")
FACTORS = ("--reduce=factors", "--dense_units=192")
BY_XLA = ("--xla=on", "--rotate_deg=10", "--optimizer=adam")
CASES = {
    "momentum": (),
    "momentum in 2": ("--accumulate_steps=2",),
    "adam": ("--optimizer=adam", "--schedule=cosine", "--weight_decay=0.01"),
    "muon": ("--optimizer=muon", *CLIPPED),
    "muon in 2": ("--optimizer=muon", "--accumulate_steps=2", *CLIPPED),
    "everything": (
        *("--batch_norm", "--residual", "--shift_px=2", "--rotate_deg=10", "--zoom=0.1"),
        *("--optimizer=adam", "--lr=0.003", *CLIPPED),
    ),
    "float16": ("--precision=mixed_float16", "--batch_norm"),
    "bfloat16": ("--precision=mixed_bfloat16", "--batch_norm"),
    "products": ("--reduce=product", "--dense_units=192", *CLIPPED),
    "factors": (*FACTORS, *CLIPPED),
    "factors in 2": (*FACTORS, *CLIPPED, "--accumulate_steps=2"),
    "factors everything": (
        *("--batch_norm", "--residual", "--shift_px=2", "--optimizer=muon"),
        *(*FACTORS, *CLIPPED),
    ),
    "factors float16": ("--precision=mixed_float16", "--batch_norm", *FACTORS),
    "factors bfloat16": ("--precision=mixed_bfloat16", "--batch_norm", *FACTORS),
    "XLA": (*BY_XLA, *CLIPPED),
    "XLA in 2": (*BY_XLA, *CLIPPED, "--accumulate_steps=2"),
}
ONE, ONE_THREAD, RESUMED = (1, 1), "one inter-op thread", "saved on 4 resumed on 2 workers then 1"
SUITE = {  # (devices of a worker, workers) -> what is trained there and on one device
    ONE_THREAD: ("momentum",),
    (2, 1): ("adam", "muon", "factors in 2", "XLA"),
    (4, 1): ("momentum in 2", "factors", "XLA in 2"),
    (8, 1): ("momentum",),
}
WHOLE = {  # half an hour
    ONE_THREAD: ("momentum", "adam", "everything"),
    (2, 1): (
        *("momentum", "adam", "muon", "everything", "bfloat16", "products", "factors"),
        *("factors in 2", "factors everything", "factors float16", "factors bfloat16", "XLA"),
    ),
    (4, 1): (
        *("momentum", "momentum in 2", "adam", "muon in 2", "everything", "float16"),
        *("factors", "factors everything", "factors float16", "XLA", "XLA in 2"),
    ),
    (8, 1): (
        *("momentum", "adam", "muon", "everything", "float16", "bfloat16"),
        *("factors", "factors everything", "factors bfloat16"),
    ),
    (1, 2): ("everything", "adam", "factors", "factors everything", "factors float16", "XLA"),
    (2, 2): ("everything", "factors everything"),
    (1, 4): ("everything", "factors everything"),
    RESUMED: ("everything", "factors everything"),
}
ON = WHOLE if os.environ.get("MNIST_DIST_EXACT") == "whole" else SUITE
WITH_ONE_THREAD = f"""
from mnist_dist.devices.startup_messages import without_startup_messages
with without_startup_messages():
    import tensorflow as tf
own = tf.config.threading.set_inter_op_parallelism_threads
tf.config.threading.set_inter_op_parallelism_threads = lambda given: own(1)
{SEVERAL}
"""


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """(topology, case) -> its run; two processes at a time, one for each core."""
    folder = tmp_path_factory.mktemp("exact")
    cut(folder, 5003, 1003)
    wanted = {ONE: set()}
    for item in request.session.items:
        if item.module is request.module:
            case = item.callspec.params["case"]
            wanted.setdefault(item.callspec.params["topology"], set()).add(case)
            wanted[ONE] |= {reference(case)}

    def on(topology):
        cases = {name: CASES[name] for name in sorted(wanted[topology])}
        place = folder / name(topology).replace(" ", "-")
        flags = (*COMMON, f"--data_dir={folder}")
        if topology == RESUMED:
            return {name: resumed(place / name, *flags, *case) for name, case in cases.items()}
        if topology == ONE_THREAD:
            return train_each(place, cases, *flags, program=WITH_ONE_THREAD)
        return train_on(topology, place, cases, *flags)

    with two_at_a_time(wanted, on) as found:
        yield found


def name(topology):
    return topology if isinstance(topology, str) else "{}x{}".format(*topology)


def resumed(folder, *flags):
    train(folder, *flags, "--virtual_devices=4", "--max_steps=37")
    train(folder, *flags, "--max_steps=70", workers=2)
    return train(folder, *flags)


def reference(case):
    """The case that gives the same bits on one replica."""
    return case.partition(" in ")[0].replace("products", "factors")


def variables(run):
    """Name -> array, of the last checkpoint."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(run.folder / f"ck/ckpt-{STEPS}/weights"))
    names = [n for n in reader.get_variable_to_shape_map() if n.startswith("variables/")]
    return {name.split("/")[1].replace(".S", "/"): reader.get_tensor(name) for name in names}


@pytest.mark.parametrize(
    ("topology", "case"),
    [
        pytest.param(topology, case, id=f"{name(topology)}-{case}".replace(" ", "-"))
        for topology, cases in ON.items()
        for case in cases
        if not (SLOW_BFLOAT16 and "bfloat16" in case)
    ],
)
def test_the_same_bits(runs, topology, case):
    run, one = runs(topology, case), runs(ONE, reference(case))
    assert len(run.losses) == STEPS
    assert run.losses[-1] < run.losses[0]  # it has learnt
    if topology in ON and isinstance(topology, tuple):
        devices, workers = topology
        assert run.result["num_replicas"] == devices * workers
        assert run.result["num_workers"] == workers
    assert run.result["weights_sha256"] == one.result["weights_sha256"]
    files = [(r.folder / "out/metrics.jsonl").read_bytes() for r in (run, one)]
    assert files[0] == files[1]
    mine, theirs = variables(run), variables(one)
    assert mine.keys() == theirs.keys()
    assert any(name.startswith("optimizer/") for name in mine)
    assert all(np.array_equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.parametrize(("topology", "case"), [(ONE, "momentum")])
def test_the_digest_is_what_docs_files_says(runs, topology, case):
    run = runs(topology, case)
    found = hashlib.sha256()
    for name, array in sorted(variables(run).items()):
        if name.startswith(WEIGHTS):
            found.update(name.encode() + b"\0" + array.tobytes())
    assert run.result["weights_sha256"] == found.hexdigest()
