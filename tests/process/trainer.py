"""Real trainings for the tests: a process of its own each, or many in one to start TensorFlow once.

Run as a script it is that one process (see `Trainer`).
"""

import contextlib
import dataclasses
import importlib
import json
import os
import re
import subprocess
import sys
import traceback
from pathlib import Path

import numpy as np

from tests import warm

ROOT = Path(__file__).parents[2]
TRAIN = (sys.executable, "-m", "mnist_dist.train")
SMALL = ("--no_gpu", "--conv_filters=2,4", "--dense_units=16")
DEADLINE_S = 240


@dataclasses.dataclass
class Run:
    """How a training ended, and its files."""

    code: int
    out: str
    err: str
    folder: Path

    def lines(self, name):
        return [json.loads(line) for line in (self.folder / "out" / name).read_text().splitlines()]

    def metrics(self, split):
        return [line for line in self.lines("metrics.jsonl") if line["split"] == split]

    def losses(self):
        """Step -> training loss."""
        return {line["step"]: line["loss"] for line in self.metrics("train")}

    def result(self):
        return json.loads((self.folder / "out/result.json").read_text())

    def checkpoints(self):
        names = (path.name for path in (self.folder / "ck").glob("ckpt-*"))
        return sorted(int(name.removeprefix("ckpt-")) for name in names)

    def refused(self, code=2):
        """The one line on standard error of a run that was refused, or failed with code 1."""
        assert self.code == code, self.out + self.err
        assert re.fullmatch(r"mnist_dist: [^\n]+\n", self.err), self.err
        return self.err


def folders(folder):
    return (f"--checkpoint_dir={folder}/ck", f"--output_dir={folder}/out")


def environment(**changes):
    """This process's, without what a scheduler or a cluster may have set."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "TF_"))}
    return {**kept, **changes}


def train(folder, *flags, command=TRAIN, run=warm.run):
    """The command in a process of its own; `run=subprocess.run` to start as a user's does."""
    done = run(
        [*command, *map(str, flags), *folders(folder)],
        **{"capture_output": True, "cwd": ROOT, "timeout": DEADLINE_S},
        env=environment(),
    )  # as bytes: Python's text mode would make lines of a bar's carriage returns
    return Run(done.returncode, done.stdout.decode(), done.stderr.decode(), folder)


class Trainer:
    """One process that runs the command line again and again."""

    def __init__(self, folder, start=warm.Popen, **changes):
        """In `folder`; `changes` are of the environment, for `start=subprocess.Popen`."""
        self._folder, self._number = folder, 0
        self._process = start(
            [sys.executable, __file__, str(folder)],
            **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT},
            env=environment(PYTHONPATH=os.environ.get("PYTHONPATH", str(ROOT)), **changes),
        )

    def __call__(self, *flags, folder=None):
        """Runs the command line; in a new folder, if none is given."""
        self._number += 1
        folder = folder or self._folder / f"run-{self._number}"
        folder.mkdir(exist_ok=True)
        argv = [*map(str, flags), *folders(folder)]
        return self._ran(argv, folder)

    def main(self, *argv):
        """Runs the command line with nothing added."""
        return self._ran([str(word) for word in argv], self._folder)

    def _ran(self, argv, folder):
        run = Run(*self._ask("command_line", argv), folder)
        assert "retracing" not in run.err  # which TensorFlow warns of after some runs
        return run

    def tool(self, module, *argv):
        """The command `python -m mnist_dist.MODULE`."""
        return Run(*self._ask("tool", [module, *map(str, argv)]), self._folder)

    def predict(self, run_dir, images, **how):
        """Classes and probabilities by `mnist_dist.load(run_dir, **how).predict(images)`."""
        np.save(self._folder / "images.npy", images)
        with np.load(self._ask("predict", [str(run_dir), how])) as arrays:
            return arrays["classes"], arrays["probabilities"]

    def api(self, told="", told_in="", **flags):
        """What `run(Config(**flags))` returns, as a dict with its history, or what it raises.

        An error is its name and text. `told` is the signal that tells it to stop: at once, or in
        the first stage of the name `told_in`.
        """
        plain = {key: _plain(value) for key, value in flags.items()}
        return self._ask("api", [told, told_in, plain])

    def weights(self, checkpoint):
        """A checkpoint's variables: name -> array."""
        with np.load(self._ask("weights", [str(checkpoint)])) as arrays:
            return {name.replace("|", "/"): arrays[name] for name in arrays.files}

    def series(self, folder):
        """Tag -> [(step, value)] as TensorBoard reads a folder of event files.

        A picture's value is [width, height]; that of "graph" is the number of operations.
        """
        found = self._ask("series", [str(folder)])
        return {tag: [tuple(pair) for pair in pairs] for tag, pairs in found.items()}

    def close(self):
        self._process.stdin.close()
        self._process.wait(timeout=DEADLINE_S)
        self._process.stdout.close()

    def _ask(self, what, arguments):
        print(json.dumps([what, arguments]), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, f"the trainer died with exit code {self._process.wait()}"
        return json.loads(answer)


def _plain(value):
    return str(value) if isinstance(value, Path) else value


# What follows runs in the trainer's process.


@contextlib.contextmanager
def captured(folder):
    """Both outputs of this process, file descriptors and all; yields a function to read them."""
    kept = [os.dup(number) for number in (1, 2)]
    paths = [folder / "stdout", folder / "stderr"]
    for number, path in zip((1, 2), paths, strict=True):
        with path.open("wb") as file:
            os.dup2(file.fileno(), number)
    try:
        yield lambda: [path.read_text() for path in paths]
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, handle in zip((1, 2), kept, strict=True):
            os.dup2(handle, number)
            os.close(handle)


def command_line(folder, *argv):
    return tool(folder, "train", *argv)


def tool(folder, module, *argv):
    main = importlib.import_module(f"mnist_dist.{module}").main
    with captured(folder) as read:
        try:
            code = main(list(argv))
        except BaseException:  # as Python itself would end
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        return [code, *read()]


def api(folder, told, told_in, flags):
    from mnist_dist.config import Config
    from mnist_dist.train import run
    from mnist_dist.training.stop import Stop

    class Told(Stop):
        def during(self, stage):
            self.signal_name = self.signal_name or (told if stage == told_in else "")
            return super().during(stage)

    stop = Told()
    stop.signal_name = "" if told_in else told
    flags = {key: tuple(v) if isinstance(v, list) else v for key, v in flags.items()}
    with captured(folder):
        try:
            result = run(Config(**flags), stop=stop)
            return {**result.as_dict(), "history": list(result.history)}
        except Exception as error:
            return f"{type(error).__name__}: {error}"


def weights(folder, checkpoint):
    import tensorflow as tf

    reader = tf.train.load_checkpoint(f"{checkpoint}/weights")
    arrays = {}
    for key in reader.get_variable_to_shape_map():
        if key.startswith("variables/"):
            arrays[key.split("/")[1].replace(".S", "|")] = reader.get_tensor(key)
    np.savez(folder / "weights.npz", **arrays)
    return str(folder / "weights.npz")


def predict(folder, run_dir, how):
    from mnist_dist import load

    with captured(folder) as read:
        answer = load(run_dir, **how).predict(np.load(folder / "images.npy"))
    assert "retracing" not in "".join(read())  # which TensorFlow warns of after some models
    np.savez(folder / "answers.npz", **answer._asdict())
    return str(folder / "answers.npz")


def series(folder, place):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(place, size_guidance={"scalars": 0, "images": 0}).Reload()
    tags = events.Tags()
    found = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags["scalars"]}
    for tag in tags["images"]:
        found[tag] = [(e.step, [e.width, e.height]) for e in events.Images(tag)]
    for tag in tags["tensors"]:  # of HParams, whose values are in the tag's metadata
        found[tag] = [(e.step, 0) for e in events.Tensors(tag)]
    return found | ({"graph": [(0, len(events.Graph().node))]} if tags["graph"] else {})


def serve(folder):
    questions = {
        **{"command_line": command_line, "tool": tool, "predict": predict},
        **{"api": api, "weights": weights, "series": series},
    }
    with os.fdopen(os.dup(1), "w") as answers:
        for line in sys.stdin:
            what, arguments = json.loads(line)
            print(json.dumps(questions[what](folder, *arguments)), file=answers, flush=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
