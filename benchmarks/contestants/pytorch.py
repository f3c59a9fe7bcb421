"""The same network in PyTorch: alone in either layout, or by DistributedDataParallel (gloo)."""

import contextlib
import os
import sys
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.contestants.turns import Arrays, Turns, first
from benchmarks.job import CHECKED_STEPS, Job

EVALUATED_TOGETHER = 1000


def network(job: Job, arrays: Arrays) -> nn.Sequential:
    """With the common weights; float images in, logits out."""
    conv1, conv2 = nn.Conv2d(1, 32, 5), nn.Conv2d(32, 64, 5)
    dense, logits = nn.Linear(1024, 1024), nn.Linear(1024, 10)
    w = arrays.weights
    # A flat image is height, width, channels in TensorFlow, and channels, height, width here.
    flat = w["dense1/kernel"].reshape(4, 4, 64, 1024).transpose(3, 2, 0, 1).reshape(1024, 1024)
    values = {
        **{conv1: w["conv1/kernel"].transpose(3, 2, 0, 1)},
        **{conv2: w["conv2/kernel"].transpose(3, 2, 0, 1)},
        **{dense: flat, logits: w["logits/kernel"].T},
    }
    names = ("conv1", "conv2", "dense1", "logits")
    for name, (layer, value) in zip(names, values.items(), strict=True):
        layer.weight.data.copy_(torch.from_numpy(np.ascontiguousarray(value)))
        layer.bias.data.copy_(torch.from_numpy(w[f"{name}/bias"]))
    return nn.Sequential(
        *(conv1, nn.ReLU(), nn.MaxPool2d(2), conv2, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(dense, nn.ReLU(), nn.Dropout(job.dropout), logits),
    )


class Trainer:
    """PyTorch's usual loop, on images that are in memory as bytes."""

    def __init__(self, job: Job, arrays: Arrays) -> None:
        self._job, self._arrays = job, arrays
        self._images = torch.from_numpy(arrays.images.transpose(0, 3, 1, 2).copy())
        self._labels = torch.from_numpy(arrays.labels.astype(np.int64))
        self._layout = torch.contiguous_format
        if job.options.get("channels_last"):
            self._layout = torch.channels_last
        net = network(job, arrays).to(memory_format=self._layout)
        self.net = nn.parallel.DistributedDataParallel(net) if len(job.ports) > 1 else net
        self._rule = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.5)
        self._loss = nn.CrossEntropyLoss()
        self._step = 0

    def arithmetic(self) -> Any:
        """Autocast, where bfloat16 is asked for."""
        if self._job.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast("cpu", torch.bfloat16)

    def pixels(self, images: torch.Tensor) -> torch.Tensor:
        """Bytes as 0..1, in the layout."""
        return (images.float() / 255).contiguous(memory_format=self._layout)

    def step(self) -> torch.Tensor:
        """One update; the global batch's mean loss, of this process's part of it."""
        processes = len(self._job.ports)
        ids = np.split(self._arrays.batch_ids(self._step), processes)[self._job.rank]
        rows = torch.from_numpy(ids.copy())  # the permutation is shared, and not to be written
        self._step += 1
        self._rule.zero_grad()
        with self.arithmetic():
            logits = self.net(self.pixels(self._images[rows]))
            loss = self._loss(logits.float(), self._labels[rows])
        loss.backward()
        self._rule.step()
        return loss.detach()

    def evaluate(self) -> list[float]:
        """Loss and accuracy on the test set."""
        test = self._arrays.test
        images = torch.from_numpy(test.images.transpose(0, 3, 1, 2).copy())
        labels = torch.from_numpy(test.labels.astype(np.int64))
        split = images.split(EVALUATED_TOGETHER), labels.split(EVALUATED_TOGETHER)
        self.net.eval()
        total, right = 0.0, 0
        with torch.inference_mode(), self.arithmetic():
            for x, y in zip(*split, strict=True):
                logits = self.net(self.pixels(x)).float()
                total += nn.functional.cross_entropy(logits, y, reduction="sum").item()
                right += int((logits.argmax(1) == y).sum())
        return [total / len(test.labels), right / len(test.labels)]


def main(job: Job, turns: Turns) -> None:
    """Computes on until there are no more turns; or the first steps."""
    torch.set_num_threads(job.threads)
    if len(job.ports) > 1:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(job.ports[0])}
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        torch.distributed.init_process_group("gloo", rank=job.rank, world_size=len(job.ports))
    trainer = Trainer(job, Arrays(job))

    def train() -> list[float]:
        count = CHECKED_STEPS if job.check else job.steps
        return [float(trainer.step()) for _ in range(count)]

    turn = trainer.evaluate if job.evaluate else train
    losses = turn()
    if job.check:
        if len(job.ports) > 1:  # the mean of the parts' means, which are of as many images
            shared = torch.tensor(losses)
            torch.distributed.all_reduce(shared)
            losses = (shared / len(job.ports)).tolist()
        turns.say(losses=first(losses))
    else:
        while turns.over():
            turn()


if __name__ == "__main__":
    main(Job.from_json(sys.argv[1]), Turns())
