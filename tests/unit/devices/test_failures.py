"""TensorFlow's failures in one line, with a way out."""

import pytest

from mnist_dist.devices.failures import MOST_CHARACTERS, line


def test_a_full_card_says_what_to_do():
    found = line(
        "ResourceExhaustedError",
        "OOM when allocating tensor with shape[50000,32,24,24] and type float on /gpu:0\n"
        "\t [[{{node conv}}]]\nHint: If you want to see a list of allocated tensors",
    )
    assert found == (
        "the device's memory is full (shape[50000,32,24,24] were wanted); give a smaller "
        "--batch_size, more --accumulate_steps, --xla=off, or a larger --gpu_memory_mib if there "
        "is a limit"
    )
    assert "memory is full; give" in line("ResourceExhaustedError", "no words")


@pytest.mark.parametrize(
    "said",
    [
        "A deterministic GPU implementation of DepthwiseConvBackpropFilter is not currently "
        "available. [Op:X]",
        "Deterministic GPU implementation of unsorted segment reduction op not available.",
    ],
)
def test_an_operation_without_a_deterministic_kernel(said):
    found = line("UnimplementedError", f"Graph execution error:\n{said}\n\t [[node]]")
    assert said.partition(".")[0] in found
    assert found.endswith("or give --nondeterministic, with which two runs differ")
    assert "\n" not in found


def test_xla_without_its_tools():
    found = line("InternalError", "libdevice not found\n at ./libdevice.10.bc")
    assert found.startswith("XLA lacks a part of CUDA's toolkit (libdevice not found at ./libdev")
    assert found.endswith("'tensorflow[and-cuda]' has it, or give --xla=off")


def test_other_failures_are_told_as_they_are():
    assert line("InternalError", "a \n b") == "a b"
    assert len(line("InternalError", "x" * 5000)) == MOST_CHARACTERS
    words = "the deterministic order is not kept"
    assert line("InternalError", words) == words
