"""What the flags make of TensorFlow's arithmetic, for a GPU that isn't needed to see it."""

import pytest
import tensorflow as tf
from tensorflow.python.framework import config as tf_config

from mnist_dist.devices import hardware, tensorflow_private
from mnist_dist.devices.arithmetic import (
    candidates,
    check,
    compiled,
    make_deterministic,
    settle,
)
from mnist_dist.errors import UsageError

H200, VOLTA, PASCAL, CPU = (9, 0), (7, 0), (6, 1), None


@pytest.fixture(autouse=True)
def _as_before():
    yield
    tf_config.disable_op_determinism()
    tf.config.experimental.enable_tensor_float_32_execution(True)


@pytest.mark.parametrize(
    ("capability", "nondeterministic", "on"),
    [(H200, False, True), (H200, True, False), (CPU, False, False), (CPU, True, False)],
)
def test_deterministic_kernels(capability, nondeterministic, on):
    """On a GPU unless it is told otherwise; a second run in this process has its own way."""
    for before in (False, True):
        make_deterministic(H200, nondeterministic=not before)
        assert tf_config.is_op_determinism_enabled() is before
        make_deterministic(capability, nondeterministic)
        assert tf_config.is_op_determinism_enabled() is on
    settled = settle("float32", "auto", capability, False, nondeterministic)
    assert settled.deterministic is not (capability is not None and nondeterministic)


@pytest.mark.parametrize("precision", ["float32", "tf32", "mixed_bfloat16", "float64"])
def test_float32_is_float32(precision):
    """TF32 only where it is asked for by name."""
    for before in (False, True):
        tf.config.experimental.enable_tensor_float_32_execution(before)
        settled = settle(precision, "auto", H200, False, False)
        on = tf.config.experimental.tensor_float_32_execution_enabled()
        assert on is (precision == "tf32")
    assert settled.precision == precision
    assert settled.layers == ("float32" if precision == "tf32" else precision)


def test_tf32_where_there_is_none():
    with pytest.raises(UsageError, match=r"^--precision=tf32 needs an NVIDIA GPU .* give float32$"):
        check("tf32", "auto", CPU, eager=False)
    with pytest.raises(UsageError, match=r"needs compute capability 8\.0, this GPU's is 7\.0; "):
        check("tf32", "auto", VOLTA, eager=False)
    check("tf32", "auto", (8, 0), eager=False)


def test_what_auto_measures():
    assert candidates(CPU) == ("float32", "mixed_bfloat16")
    assert candidates(H200) == ("float32", "tf32", "mixed_bfloat16")
    assert candidates(VOLTA) == ("float32", "mixed_float16")
    assert candidates(PASCAL) == ("float32",)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("float32", "gpu", 1, "auto", False), True),
        (("mixed_bfloat16", "gpu", 1, "channels_last", False), True),
        (("tf32", "gpu", 1, "auto", False), False),
        (("float32", "cpu", 1, "auto", False), False),
        (("float32", "gpu", 2, "auto", False), False),
        (("float32", "gpu", 1, "channels_first", False), False),
        (("float32", "gpu", 1, "auto", True), False),
    ],
)
def test_what_xla_compiles(arguments, wanted):
    assert compiled("auto", *arguments) is wanted
    assert compiled("on", *arguments)
    assert not compiled("off", *arguments)


def test_layouts():
    assert not settle("float32", "auto", H200, False, False, xla=True).channels_first
    assert settle("float32", "auto", H200, False, False).channels_first
    assert not settle("float32", "auto", CPU, False, False).channels_first
    assert not settle("float32", "channels_last", H200, False, False).channels_first
    assert settle("float64", "channels_first", H200, True, False).channels_first


@pytest.mark.parametrize(("has", "onednn"), [(True, "on DNNL_MAX_CPU_ISA=SSE41"), (False, "off")])
def test_a_setting_of_one_dnn_is_another_kind_of_hardware(monkeypatch, has, onednn):
    """Else a worker with one is named for wrong bits of the products that it computes at home."""
    monkeypatch.setattr(tensorflow_private, "has_onednn", lambda: has)
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    plain = hardware.arithmetic("/cpu:0")
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "SSE41")
    assert hardware.arithmetic("/cpu:0") == {**plain, "onednn": onednn}
    assert plain["onednn"] == ("on" if has else "off")
