"""Which examples each replica trains on at each step, taken from within the replicas' steps.

A training set of 2,503 images and a global batch of 50: each epoch's last batch has 3 images, and
neither 50 nor 3 can be divided evenly over 3 or 8 replicas.
"""

import json
from collections import defaultdict

import numpy as np
import pytest

from tests.curves import ROOT, train
from tests.devices.traced import digest
from tests.mnist_files import cut

EXAMPLES, BATCH, EPOCHS = 2503, 50, 2
STEPS = 51  # of an epoch


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder with the first 2,503 images of MNIST, and the (digest -> index) of those."""
    folder = tmp_path_factory.mktemp("idx")
    cut(folder, EXAMPLES, 1000)
    images = np.frombuffer((folder / "train-images-idx3-ubyte").read_bytes()[16:], np.uint8)
    labels = np.frombuffer((folder / "train-labels-idx1-ubyte").read_bytes()[8:], np.uint8)
    rows = zip(images.reshape(EXAMPLES, 28, 28), labels, strict=True)
    index = {digest(image, label): number for number, (image, label) in enumerate(rows)}
    assert len(index) == EXAMPLES  # no image is there twice
    return folder, index


def permutation(epoch, seed=0):
    """The order of an epoch, from its definition: ranks of a Philox generator's words."""
    return np.argsort(
        np.random.Philox(key=(seed << 64) + epoch).random_raw(EXAMPLES), kind="stable"
    )


@pytest.mark.parametrize(
    ("flags", "workers", "replicas"),
    [
        ((), 1, 1),
        (("--virtual_devices=3",), 1, 3),
        (("--virtual_devices=8", "--accumulate_steps=2"), 1, 8),
        (("--virtual_devices=2",), 2, 4),
    ],
)
def test_each_example_once_and_in_its_place(tmp_path, images, flags, workers, replicas):
    folder, index = images
    program = [f"{ROOT}/tests/devices/traced.py", str(tmp_path)]
    more = (f"--data_dir={folder}", "--validation_size=0", f"--batch_size={BATCH}", *flags)
    more += (f"--epochs={EPOCHS}", "--max_steps=0", "--log_interval=1")
    run = train(tmp_path, *more, workers=workers, prefix=program)
    assert len(run.losses) == EPOCHS * STEPS
    assert run.result["num_replicas"] == replicas
    seen = defaultdict(lambda: defaultdict(list))  # step -> replica -> examples
    by_process = {}
    for path in tmp_path.glob("trace-*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        by_process[path.name] = {line["replica"] for line in lines}
        for line in lines:
            seen[line["step"]][line["replica"]].append([index[row] for row in line["seen"]])
    # No replica computes in two processes.
    assert len(by_process) == workers
    assert sorted(r for there in by_process.values() for r in there) == list(range(replicas))
    assert sorted(seen) == list(range(EPOCHS * STEPS))
    for step, by_replica in seen.items():
        epoch, number = divmod(step, STEPS)
        batch = permutation(epoch)[number * BATCH : (number + 1) * BATCH]
        micros = zip(*(by_replica[replica] for replica in range(replicas)), strict=True)
        parts = [part for micro in micros for part in micro]
        assert [example for part in parts for example in part] == batch.tolist()
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= (1 if len(parts) == replicas else 2)
    for epoch in range(EPOCHS):
        steps = range(epoch * STEPS, (epoch + 1) * STEPS)
        whole = [e for s in steps for parts in seen[s].values() for part in parts for e in part]
        assert sorted(whole) == list(range(EXAMPLES))
