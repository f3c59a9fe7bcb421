"""A model of the time of a step on n replicas: computation, and a ring all-reduce of gradients.

A ring all-reduce of S bytes over n replicas sends 2(n-1) messages of S/n bytes one after another
(Patarasuk and Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters of workstations"),
so it takes 2(n-1) alpha + 2(n-1)/n S/B. It doesn't overlap with the computation: this program
sends the gradients in one pack, once all of them are computed. Where dense gradients are sent as
factors, S depends on the global batch, and each replica forms their product for all rows. Where
that is fewer bytes, each replica gathers the shares of all, n - 1 messages of a share s:
(n-1) alpha + (n-1) s/B.
"""

import dataclasses
import math
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from mnist_dist.devices import timing_fit
from mnist_dist.training.reduce_plan import Sending

MOST_REPLICAS = 1024
WORTH = 0.5
"""The lowest efficiency at which adding replicas is said to pay off."""


class Ring(NamedTuple):
    """The cost of an all-reduce.

    Attributes:
        launch_s: once for each, whatever the number of replicas.
        alpha_s: for each of its 2(n-1) messages.
        bytes_per_s: of a replica's link, the B above.
    """

    launch_s: float
    alpha_s: float
    bytes_per_s: float

    def seconds(self, replicas: int, size_bytes: float) -> float:
        """Returns the time of one all-reduce; 0 for one replica."""
        if replicas == 1:
            return 0.0
        messages = 2 * (replicas - 1)
        sent = messages / replicas * size_bytes / self.bytes_per_s
        return self.launch_s + messages * self.alpha_s + sent

    def gather_seconds(self, replicas: int, share_bytes: float) -> float:
        """Returns the time until each replica has the shares of all others; 0 for one replica."""
        if replicas == 1:
            return 0.0
        messages = replicas - 1
        return self.launch_s + messages * (self.alpha_s + share_bytes / self.bytes_per_s)


class Step(NamedTuple):
    """The cost of a training step of one replica.

    Attributes:
        fixed_s: for each micro-batch, however small it is.
        image_s: for each image.
        sending: how the gradients are sent.
        product_row_s: for each row of other replicas, where dense gradients are sent as factors
            and each replica forms the product.
    """

    fixed_s: float
    image_s: float
    sending: Sending
    product_row_s: float = 0.0

    def compute_s(self, images: float, micro_batches: int = 1) -> float:
        """Returns the time of computation for some images, without communication."""
        return micro_batches * self.fixed_s + images * self.image_s


class Point(NamedTuple):
    """A prediction.

    Attributes:
        replicas: over all workers.
        step_s: of a global step.
        images_per_s: over all replicas.
        efficiency: of a replica, against one replica that trains alone.
        communication: share of the step that disappears when a replica trains alone.
        bytes: of the gradients, as they are sent in a step.
    """

    replicas: int
    step_s: float
    images_per_s: float
    efficiency: float
    communication: float
    bytes: int


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Weak or strong scaling, predicted for any number of replicas.

    Attributes:
        step: the cost of computation.
        ring: the cost of communication.
        batch: images of one replica in weak scaling, of the global batch in strong scaling.
        weak: whether the batch of a replica is constant; else the global batch is.
        micro_batches: micro-batches of a step.
    """

    step: Step
    ring: Ring
    batch: int
    weak: bool
    micro_batches: int = 1

    def at(self, replicas: int) -> Point:
        """Returns the prediction for a number of replicas."""
        images = self.batch if self.weak else self.batch / replicas
        compute_s = self.step.compute_s(images, self.micro_batches)
        rows = math.ceil(images / self.micro_batches) * self.micro_batches * replicas
        plan = self.step.sending.plan(rows, replicas)
        # All that is summed besides the gradients is small.
        rest_s = (self.step.sending.reductions(rows) - 1) * self.ring.seconds(replicas, 0.0)
        if plan.gather:
            reduce_s = rest_s + self.ring.gather_seconds(replicas, plan.share(replicas))
        else:
            reduce_s = rest_s + self.ring.seconds(replicas, plan.bytes)
        if plan.factored:
            reduce_s += self.step.product_row_s * (rows - rows / replicas)
        step_s = compute_s + reduce_s
        alone = self.batch / self.step.compute_s(self.batch, self.micro_batches)
        speed = images * replicas / step_s
        efficiency = speed / (replicas * alone)
        return Point(replicas, step_s, speed, efficiency, reduce_s / step_s, plan.bytes)

    @property
    def most(self) -> int:
        """The most replicas that can be: in strong scaling each needs an image."""
        return MOST_REPLICAS if self.weak else min(MOST_REPLICAS, self.batch)

    @property
    def worth(self) -> int:
        """The most replicas, up to `most`, at an efficiency of at least WORTH."""
        return max(n for n in range(1, self.most + 1) if self.at(n).efficiency >= WORTH)

    @property
    def fastest(self) -> int:
        """The number of replicas, up to `most`, beyond which more give less throughput."""
        return max(range(1, self.most + 1), key=lambda n: self.at(n).images_per_s)


def doubling(most: int) -> list[int]:
    """2, 4, 8 ... up to `most`."""
    return [2**power for power in range(1, most.bit_length())]


def fit_ring(rows: Iterable[tuple[int, int, float]], sent: Collection[int]) -> Ring:
    """Latency and bandwidth by least squares of relative errors.

    The sizes that a step sends have the weight of all others together, since the prediction is
    made for them.

    Args:
        rows: replicas (2 or more), bytes and seconds of an all-reduce. If all rows have the same
            number of replicas, the fitted latency includes the cost of a launch.
        sent: the sizes among them that a step sends.
    """
    table = np.array(list(rows), float)
    replicas, sizes, seconds = table.T
    messages = 2.0 * (replicas - 1.0)
    launch = np.ones_like(messages) * (len({*replicas}) > 1)
    columns = np.stack([launch, messages, messages / replicas * sizes], 1)
    own = np.isin(sizes, list(sent))
    weights = np.where(own, np.sqrt(np.sum(~own) / np.sum(own)), 1.0)
    launch_s, alpha_s, byte_s = timing_fit.costs(columns, seconds, weights)
    return Ring(launch_s, alpha_s, timing_fit.bandwidth(byte_s))


def fit_step(
    rows: Sequence[tuple[int, float]],
    sending: Sending,
    product_row_s: float = 0.0,
    micro_batches: int = 1,
) -> Step:
    """Fits the fixed and the proportional cost of computation in the same way.

    Args:
        rows: images of a replica and seconds of a step, without communication. With one number
            of images alone, nothing counts as fixed.
        sending: how the gradients are sent.
        product_row_s: see Step.
        micro_batches: into which the images were cut.
    """
    images, seconds = np.array(rows, float).T
    fixed = np.full_like(images, micro_batches * (len({*images}) > 1))
    fixed_s, image_s = timing_fit.costs(np.stack([fixed, images], 1), seconds)
    return Step(fixed_s, image_s, sending, product_row_s)
