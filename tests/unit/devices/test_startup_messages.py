"""What TensorFlow is told by its environment before it is imported."""

import subprocess
import sys

import pytest

from mnist_dist.devices.startup_messages import one_dnn_settings, with_autotuning_off

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


def test_settings_of_one_dnn():
    """Those by which it computes other bits, in one order; not what it prints."""
    isa, mode = {"DNNL_MAX_CPU_ISA": "SSE41"}, {"TF_SET_ONEDNN_FPMATH_MODE": "bf16"}
    other = {"ONEDNN_VERBOSE": "1", "PATH": "/bin", "MY_DNNL_MAX_CPU_ISA": "AVX2"}
    assert one_dnn_settings(other) == ""
    assert one_dnn_settings({**mode, **other, **isa}) == (
        "DNNL_MAX_CPU_ISA=SSE41 TF_SET_ONEDNN_FPMATH_MODE=bf16"
    )


@pytest.mark.parametrize(("kib", "code"), [(2_000_000, 2), (4_000_000, 0)])
def test_too_little_address_space_is_refused(kib, code):
    """TensorFlow would print a stack of C++ and abort."""
    python = "from mnist_dist.devices.startup_messages import without_startup_messages as quiet\n"
    python += "from mnist_dist.run.command import answered\n"
    python += "def command():\n    with quiet(): return 0\nraise SystemExit(answered(command))"
    line = f'ulimit -v {kib}; exec "$@"'
    command = ["bash", "-c", line, "bash", sys.executable, "-c", python]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == code
    assert done.stderr == code // 2 * (
        f"mnist_dist: ulimit -v is {kib} KiB of address space, and TensorFlow needs at least "
        "3145728; give ulimit -v unlimited\n"
    )
