"""TensorFlow's private API is there, and does what the program relies on."""

import subprocess
import sys

import pytest

from tests import warm

CODE = """
import json, os, sys
from mnist_dist.devices import tensorflow_private
import tensorflow as tf
from tensorflow.python.eager import context
"""

CHECKS = {
    "oneDNN is reported as the environment sets it": """
assert tensorflow_private.has_onednn() == (os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1")
""",
    "determinism is switched on and off": """
from tensorflow.python.framework import config
tf.config.experimental.enable_op_determinism()
assert config.is_op_determinism_enabled()
tensorflow_private.disable_op_determinism()
assert not config.is_op_determinism_enabled()
""",
    "initialisation is seen": """
assert not tensorflow_private.is_initialized()
tf.constant(1.0)
assert tensorflow_private.is_initialized()
assert not tensorflow_private.is_worker()
""",
    "the heartbeat's timeout reaches TensorFlow, and a worker's devices are counted": """
given = {}
own = context.context()
configure = own.configure_coordination_service
def recorded(*args, **kwargs):
    given.update(kwargs)
    return configure(*args, **kwargs)
own.configure_coordination_service = recorded
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
import socket
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]
from mnist_dist.devices import multi_worker
options = tf.distribute.experimental.CommunicationOptions()
strategy = multi_worker.build((f"127.0.0.1:{port}",), 0, 2, options)
assert strategy.num_replicas_in_sync == 2, strategy.num_replicas_in_sync
assert given["heartbeat_timeout_in_ms"] == 1000 * multi_worker.HEARTBEAT_S, given
assert tensorflow_private.is_worker()
""",
}


@pytest.mark.parametrize("onednn", ["0", "1"])
def test_onednn(onednn, monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", onednn)
    check("oneDNN is reported as the environment sets it", run=subprocess.run)


@pytest.mark.parametrize("name", list(CHECKS)[1:])
def test_each_use(name):
    check(name)


def check(name, run=warm.run):
    command = [sys.executable, "-c", CODE + CHECKS[name]]
    done = run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
