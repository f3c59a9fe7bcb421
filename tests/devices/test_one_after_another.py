"""Micro-batches, and with --shards their groups, run one after another: one is in memory at a time.

That is an order of operations within the graph. It is read from the graph of a step as traced: a
convolution of a later micro-batch must depend on all kernels' gradients of those before.
"""

import json
import sys

from tests import warm
from tests.curves import ROOT, SMALL

# The trainer, which says for each convolution of a step how many kernels' gradients precede it.
PROGRAM = """
import json, sys
from mnist_dist import train
with train.without_startup_messages():
    import tensorflow as tf
    from mnist_dist.training.replica import Replica
    from mnist_dist.training.shards import Shards

def before(operation, found):
    inputs = [tensor.op for tensor in operation.inputs]
    for other in [*inputs, *operation.control_inputs]:
        if other not in found:
            found.add(other)
            before(other, found)
    return found

def counted(kind):
    own = kind.step
    def step(self, *given):
        result = own(self, *given)
        operations = tf.compat.v1.get_default_graph().get_operations()
        counts = [
            sum(other.type == "Conv2DBackpropFilter" for other in before(operation, set()))
            for operation in operations
            if operation.type == "Conv2D"
        ]
        print("COUNTS", json.dumps(counts), file=sys.stderr)
        return result
    kind.step = step

sys.setrecursionlimit(100_000)
counted(Replica)
counted(Shards)
sys.exit(train.main(sys.argv[1:]))
"""


def gradients_before(folder, *flags):
    """Of each convolution, in the order of the graph; the network has two layers of them."""
    done = warm.run(
        [sys.executable, "-c", PROGRAM, *SMALL, "--max_steps=1", f"--run_dir={folder}", *flags],
        **{"capture_output": True, "text": True, "cwd": ROOT},
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("COUNTS ")]
    assert lines
    [counts] = {tuple(json.loads(line.removeprefix("COUNTS "))) for line in lines}
    return list(counts)


def test_micro_batches(tmp_path):
    assert gradients_before(tmp_path, "--accumulate_steps=3") == [0, 0, 2, 2, 4, 4]


def test_groups_of_shards(tmp_path):
    """Two groups of two: shards of a group are independent of one another."""
    found = gradients_before(tmp_path, "--shards=4", "--accumulate_steps=2")
    assert found == [0, 0, 0, 0, 4, 4, 4, 4]
