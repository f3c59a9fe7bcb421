"""The network's shape: what decides it, and its layers, their sizes and costs. No TensorFlow."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mnist_dist.errors import UsageError


class Stage(NamedTuple):
    """A layer with weights, or a pool: one row of the network's table.

    Attributes:
        name: such as conv1, conv1b and conv1s of a residual block, pool1, dense1, logits.
        shape: of the output, (height, width, channels) or (units,).
        kernel: shape of the kernel, (side, side, channels, filters) or (inputs, units); empty for
            a pool.
        normed: whether batch normalisation follows.
    """

    name: str
    shape: tuple[int, ...]
    kernel: tuple[int, ...] = ()
    normed: bool = False

    @property
    def parameters(self) -> int:
        """How many numbers: kernel, bias, and a normalisation's four per channel."""
        if not self.kernel:
            return 0
        return math.prod(self.kernel) + (5 if self.normed else 1) * self.shape[-1]

    @property
    def flops(self) -> int:
        """Floating-point operations of the forward pass on one image; a multiply-add is two."""
        return 2 * math.prod(self.kernel) * math.prod(self.shape[:-1]) if self.kernel else 0


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What decides a network's shape.

    Attributes:
        image_shape: (height, width, channels).
        num_classes: number of logits.
        conv_filters: filters of each convolution; each is followed by a 2x2 max-pool.
        kernel_size: side of the convolutions' kernels, in pixels.
        dense_units: units of each hidden dense layer.
        dropout: share of the last hidden units dropped in training, 0 to less than 1.
        batch_norm: batch normalisation after each convolution and hidden dense layer.
        residual: each convolution is a block of two same-padded ones with a shortcut.
        channels_first: layout of the images inside the network.
        precision: Keras's name of the layers' arithmetic.
        seed: decides the initial weights.
    """

    image_shape: tuple[int, int, int]
    num_classes: int
    conv_filters: tuple[int, ...] = (32, 64)
    kernel_size: int = 5
    dense_units: tuple[int, ...] = (1024,)
    dropout: float = 0.5
    batch_norm: bool = False
    residual: bool = False
    channels_first: bool = False
    precision: str = "float32"
    seed: int = 0

    @property
    def identity(self) -> dict[str, str]:
        """Name -> value, what decides the run's numbers beyond the flags: nothing."""
        return {}

    @classmethod
    def from_flags(
        cls, flags: Mapping[str, Any], image_shape: tuple[int, ...], num_classes: int
    ) -> "Architecture":
        """The architecture that the flags ask for, in the default layout and precision.

        Args:
            flags: name -> value, as of Config.as_dict.
            image_shape: (height, width, channels).
            num_classes: number of classes.
        """
        height, width, channels = image_shape
        return cls(
            image_shape=(height, width, channels),
            num_classes=num_classes,
            conv_filters=tuple(flags["conv_filters"]),
            kernel_size=flags["kernel_size"],
            dense_units=tuple(flags["dense_units"]),
            dropout=flags["dropout"],
            batch_norm=flags["batch_norm"],
            residual=flags["residual"],
            seed=flags["seed"],
        )

    @property
    def stages(self) -> list[Stage]:
        """The layers, from the images to the logits.

        Raises:
            UsageError: the images are too small for the convolutions, naming the layer.
        """
        found: list[Stage] = []
        shape = self.image_shape
        for number, filters in enumerate(self.conv_filters, 1):
            found += self._block(number, filters, shape)
            height, width, _ = found[-1].shape
            shape = (-(-height // 2), -(-width // 2), filters)
            found.append(Stage(f"pool{number}", shape))
        units = math.prod(shape)
        for number, after in enumerate(self.dense_units, 1):
            found.append(Stage(f"dense{number}", (after,), (units, after), self.batch_norm))
            units = after
        return [*found, Stage("logits", (self.num_classes,), (units, self.num_classes))]

    def _block(self, number: int, filters: int, shape: tuple[int, int, int]) -> Iterator[Stage]:
        """A convolution, or a residual block."""
        size, name = self.kernel_size, f"conv{number}"
        height, width, channels = shape
        lost = 0 if self.residual else size - 1
        out = (height - lost, width - lost, filters)
        if min(out) < 1:
            given = ",".join(map(str, self.conv_filters))
            raise UsageError(
                f"--conv_filters={given}: convolution {number} gets a feature map of "
                f"{height}x{width}, less than its kernel of {size}x{size}; give fewer "
                "convolutions, a smaller --kernel_size, or --residual, which pads"
            )
        yield Stage(name, out, (size, size, channels, filters), self.batch_norm)
        if self.residual:
            yield Stage(f"{name}b", out, (size, size, filters, filters), self.batch_norm)
            if channels != filters:
                yield Stage(f"{name}s", out, (1, 1, channels, filters))
