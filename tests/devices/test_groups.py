"""--shards with --accumulate_steps: a group of shards begins when the one before has its gradients.

Otherwise TensorFlow would compute all of them at once, and all would be in memory together.
"""

import sys

import pytest

from tests import warm
from tests.curves import ROOT, SMALL

# The program, which prints for each traced step how many inputs wait for other operations.
COUNTING = """
import sys
from mnist_dist import train
with train.without_startup_messages():
    import tensorflow as tf
    from mnist_dist.training.shards import Shards
own = Shards.step
def step(self, *given):
    graph = tf.compat.v1.get_default_graph()
    before = set(graph.get_operations())
    result = own(self, *given)
    new = [op for op in graph.get_operations() if op not in before and op.type == "Identity"]
    print("waiting", sum(bool(op.control_inputs) for op in new), file=sys.stderr)
    return result
Shards.step = step
sys.exit(train.main(sys.argv[1:]))
"""


def waiting(tmp_path, groups):
    flags = (*SMALL, "--max_steps=1", "--shards=4", f"--accumulate_steps={groups}")
    done = warm.run(
        [sys.executable, "-c", COUNTING, *flags, f"--run_dir={tmp_path}/{groups}"],
        **{"capture_output": True, "text": True, "cwd": ROOT},
    )
    assert done.returncode == 0, done.stderr
    return {int(line.split()[1]) for line in done.stderr.splitlines() if "waiting" in line}


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_groups_run_one_after_another(tmp_path, groups):
    """Of 4 shards, all but those of the first group wait."""
    assert waiting(tmp_path, groups) == {4 - 4 // groups}
