"""A gradient that isn't finite, on one replica of two: whose, and on what, is said at once."""

import re
import sys

from mnist_dist.data.order import Order
from tests.process.trainer import ROOT, train

FLAGS = ("--checkpoint_every_steps=3", "--log_interval=1", "--max_steps=6")


def test_worker_step_and_batch_are_named_and_the_run_goes_on(trainer, small, tmp_path):
    """At step 4, before anything of it is saved. The same command goes on from step 3."""
    command = (sys.executable, f"{ROOT}/tests/devices/overflowing.py")
    run = train(tmp_path, *small, *FLAGS, "--virtual_devices=2", command=command)
    order = Order(seed=0, examples=2500, batch_size=64)
    ids = ", ".join(map(str, order.batch(3, order.permutation(0))[32:]))
    form = (
        r"mnist_dist: worker 0 \(host \S+\): a gradient isn't finite at step 4 on worker 0 "
        rf"\(replica 1\), of the 32 training examples {ids}, and nothing was saved since; lower "
        r"--lr, or warm it up with --warmup_steps\n"
    )
    assert re.fullmatch(form, run.refused(code=1)), run.err
    assert run.checkpoints() == [3]
    goes_on = trainer(*small, *FLAGS, "--resume=must", folder=tmp_path)
    assert goes_on.code == 0, goes_on.err
    assert f"Goes on from {tmp_path}/ck/ckpt-3, global step 3.\n" in goes_on.out
    assert list(goes_on.losses()) == [1, 2, 3, 4, 5, 6]
