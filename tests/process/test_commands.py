"""Each `python -m mnist_dist.train ...` of README and docs runs, and README's Python example: as it
stands, but smaller and shorter.

tests/unit/test_pages.py says which test runs the other commands.
"""

import os
import re
import shlex
import shutil
import sys

import pytest

from tests import warm
from tests.pages import PAGES, ROOT, blocks, commands
from tests.process.trainer import environment, train

TRAIN = "python -m mnist_dist.train"


def training():
    found = [c for page in PAGES for c in commands(page.read_text())]
    # The last of these wins over what a page says; folders are the test's own, too.
    return dict.fromkeys(c for c in found if re.fullmatch(rf"{TRAIN}( --[\w=.,/-]+)*", c))


@pytest.mark.parametrize("command", training())
def test_training(command, trainer, small, tmp_path):
    if "RUN_DIR" in command:
        earlier = trainer(*small, "--max_steps=2", "--batch_size=16")
        assert earlier.code == 0, earlier.err
        command = command.replace("RUN_DIR", str(earlier.folder / "ck"))
    given = shlex.split(command.removeprefix(TRAIN))
    shorter = (*given, *small, "--max_steps=2", "--batch_size=16", "--warmup_steps=0")
    # Logical devices are made once in a process.
    own = any("virtual_devices" in flag for flag in given)
    run = train(tmp_path, *shorter) if own else trainer(*shorter)
    assert run.code == 0, run.err
    assert run.result()["steps"] == 2


def test_there_are_such_commands():
    assert f"{TRAIN} --no_gpu --run_dir=runs/first" in training()


def test_the_python_example(subset, tmp_path):
    [lines] = [
        lines for kind, lines in blocks((ROOT / "README.md").read_text()) if kind == "python"
    ]
    given = "epochs=1, no_gpu=True, "
    shorter = f"max_steps=20, conv_filters=(2, 4), dense_units=(16,), data_dir={str(subset)!r}, "
    text = "\n".join(lines)
    assert text.count(given) == 1
    picture = tmp_path / "tests/handwriting/3-shadow.jpg"
    assert str(picture.relative_to(tmp_path)) in text
    picture.parent.mkdir(parents=True)
    shutil.copy(ROOT / picture.relative_to(tmp_path), picture)
    script = tmp_path / "example.py"
    script.write_text(text.replace(given, f"{given}{shorter}validation_size=500, "))
    done = warm.run(
        [sys.executable, str(script)],
        **{"capture_output": True, "text": True, "cwd": tmp_path},
        env=environment(MPLBACKEND="agg", PYTHONPATH=os.environ.get("PYTHONPATH", str(ROOT))),
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^Result\(test \d+\.\d\d %, .*\b20 steps ", done.stdout, re.M), done.stdout
    assert re.search(r"^Prediction\(\d \(\d+\.\d\d %\)\)$", done.stdout, re.M), done.stdout
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "runs/python/result.json").is_file()
