"""docs/api.py: the API reference is built without a warning and has what a user imports."""

import os
import sys

from tests import warm
from tests.pages import ROOT
from tests.process.trainer import environment

PAGES = {
    "mnist_dist.html": ["load"],
    "mnist_dist/train.html": ["run", "describe"],
    "mnist_dist/config.html": ["Config", "Config.batch_size", "the global batch, in images"],
    "mnist_dist/run/result.html": ["Result", "Result.test_accuracy"],
    "mnist_dist/use/model.html": ["Model", "Model.predict", "Prediction"],
    "mnist_dist/errors.html": ["UsageError", "RunError"],
}


def test_it_is_built_without_a_warning(tmp_path):
    done = warm.run(
        [sys.executable, str(ROOT / "docs/api.py"), str(tmp_path)],
        **{"capture_output": True, "text": True, "cwd": ROOT},
        env=environment(PYTHONPATH=os.environ.get("PYTHONPATH", str(ROOT))),
    )
    assert done.returncode == 0, done.stderr
    for page, names in PAGES.items():
        text = (tmp_path / page).read_text()
        assert [name for name in names if name not in text] == [], page
        # Sections of a docstring became lists.
        assert not {line.strip() for line in text.splitlines()} & {"Args:", "Raises:", "Returns:"}
