"""PyTorch's own MNIST example: its network, its recipe, its loop; a line for each epoch's score.

https://github.com/pytorch/examples/tree/main/mnist: Adadelta at 1.0, times 0.7 after each epoch,
batch 64, 14 epochs, images normalised. Only its data loader isn't: the images are in memory here,
which is faster, and all 60,000 are trained on, as there.
"""

import argparse

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mnist_dist.data import sources

EPOCHS, BATCH, TEST_BATCH = 14, 64, 1000


class Net(nn.Module):
    """The example's."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, 1)
        self.conv2 = nn.Conv2d(32, 64, 3, 1)
        self.dropout1 = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(9216, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Log-probabilities [rows, 10] of images [rows, 1, 28, 28]."""
        x = functional.relu(self.conv1(x))
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        x = torch.flatten(self.dropout1(x), 1)
        x = self.dropout2(functional.relu(self.fc1(x)))
        return functional.log_softmax(self.fc2(x), dim=1)


def main() -> None:
    """Trains, and scores the test set after each epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, required=True)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    torch.set_num_threads(given.threads)
    data = sources.load("", "", 0)

    def tensors(split: sources.Split) -> tuple[torch.Tensor, torch.Tensor]:
        images = torch.from_numpy(split.images.transpose(0, 3, 1, 2)).float() / 255
        return (images - 0.1307) / 0.3081, torch.from_numpy(split.labels.astype(np.int64))

    images, labels = tensors(data.train)
    test_images, test_labels = tensors(data.test)
    net = Net()
    rule = torch.optim.Adadelta(net.parameters(), lr=1.0)
    course = torch.optim.lr_scheduler.StepLR(rule, step_size=1, gamma=0.7)
    for _ in range(EPOCHS):
        net.train()
        for ids in torch.randperm(len(labels)).split(BATCH):
            rule.zero_grad()
            functional.nll_loss(net(images[ids]), labels[ids]).backward()
            rule.step()
        net.eval()
        with torch.no_grad():
            scored = torch.cat([net(part) for part in test_images.split(TEST_BATCH)])
        right = (scored.argmax(1) == test_labels).float().mean().item()
        loss = functional.nll_loss(scored, test_labels).item()
        print(f"Test set: Average loss: {loss:.4f}, Accuracy: {100 * right:4f}%", flush=True)
        course.step()


if __name__ == "__main__":
    main()
