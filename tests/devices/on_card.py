"""Runs the program as on a GPU, on the CPU: images gathered on the device, and what is named."""

import sys

from mnist_dist import train


def main(words, arguments):
    with train.without_startup_messages():
        from mnist_dist import assembly
        from mnist_dist.data import device_blocks
        from mnist_dist.devices import arithmetic, visible

    if "on_devices" in words:
        assembly.device_blocks.from_host = device_blocks.on_devices
    if "deterministic" in words:
        visible.arithmetic.make_deterministic = lambda *_: (
            arithmetic.tf.config.experimental.enable_op_determinism()
        )
    return train.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1].split(","), sys.argv[2:]))
