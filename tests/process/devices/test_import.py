"""TensorFlow's import in a fresh interpreter."""

import subprocess
import sys

CODE = """
import sys
from mnist_dist.devices.startup_messages import without_startup_messages
with without_startup_messages():
    import tensorflow
print("keras" in sys.modules, "matplotlib" in sys.modules)
import matplotlib.pyplot
"""


def test_matplotlib_is_left_out_and_can_be_imported_later():
    """Keras imports it if it can, which takes half a second."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True False\n", "")
