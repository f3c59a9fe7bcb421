"""What TensorFlow is told by its environment before it is imported."""

import pytest

from mnist_dist.devices.startup_messages import with_autotuning_off

OFF = "--xla_gpu_autotune_level=0"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("", OFF),
        (OFF, OFF),
        ("--xla_gpu_autotune_level=4", "--xla_gpu_autotune_level=4"),
        ("--xla_gpu_cuda_data_dir=/cuda", f"--xla_gpu_cuda_data_dir=/cuda {OFF}"),
        ("/etc/xla flags", "/etc/xla flags"),  # a file, whose flags are XLA's to read
    ],
)
def test_xla_flags(given, wanted):
    assert with_autotuning_off(given) == wanted
    assert with_autotuning_off(wanted) == wanted
