"""docs/lesson.ipynb, run from its first cell to its last in a kernel of its own."""

import json
import subprocess
import sys
from pathlib import Path

from tests.process.trainer import environment

LESSON = Path(__file__).parents[3] / "docs/lesson.ipynb"


def test_it_runs(tmp_path):
    """Its own assertions hold: the gradient, the accuracy, one and two replicas."""
    tool = (
        sys.executable,
        "-m",
        "nbconvert",
        "--to=notebook",
        "--execute",
        f"--output-dir={tmp_path}",
    )
    # With this variable set a kernel drops what isn't Python's own output: TensorFlow's greetings.
    variables = environment(IPYTHONDIR=str(tmp_path / "ipython"))
    del variables["PYTEST_CURRENT_TEST"]
    done = subprocess.run(
        [*tool, LESSON],
        **{"capture_output": True, "text": True, "timeout": 600},
        env=variables,
    )
    assert done.returncode == 0, done.stderr
    cells = json.loads((tmp_path / "lesson.ipynb").read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code)
    said = ["".join(map(str, (out.get("text", "") for out in cell["outputs"]))) for cell in code]
    assert any("Test set: Average loss: " in text for text in said)
    assert sum(text.count("Python is here, with") for text in said) == 2
    assert any("two replicas" in text for text in said)
    errors = [o["text"] for cell in code for o in cell["outputs"] if o.get("name") == "stderr"]
    assert not errors  # no greeting of TensorFlow's either
