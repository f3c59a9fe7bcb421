"""A run of the command: what it prints, what it writes, and what doesn't change its numbers.

In float32 a loss of 2.3 is off by up to 1e-5 after a few layers of sums of up to 1,024 terms (see
test_numpy_reference.py); SAME allows ten times that for 80 steps, each of which moves the weights
by a hundredth of a gradient. In bfloat16 a product is off by 2^-9, in float16 by 2^-11, and
four layers follow each other.
"""

import dataclasses
import json
import os
import re
import sys
from importlib import metadata

import numpy as np
import pytest

from mnist_dist.config import Config
from mnist_dist.data import sources
from tests import warm
from tests.process.trainer import ROOT, SMALL, environment, train

STEPS, PER_EPOCH = 80, 40
SAME = 1e-4
FOUR_LAYERS = {"mixed_bfloat16": 4 * 2.3 * 2**-9, "mixed_float16": 4 * 2.3 * 2**-11}


def apart(a, b):
    """The largest difference of two runs' training losses; the steps must be the same."""
    a, b = a.losses(), b.losses()
    assert list(a) == list(b)
    return max(abs(a[step] - b[step]) for step in a)


def test_the_notebooks_lines(base, every, subset):
    """The whole of standard output, word for word, with the numbers of metrics.jsonl."""
    lines = [
        r"Using device /cpu:0, and data format channels_last\.",
        r"Replicas: 1 over 1 worker\(s\); (\d+) of (\d+) cores of \S+, \d+ % CPU and \d+ MiB so "
        r"far; precision float32\.",
        rf"Data: IDX files in {re.escape(str(subset))}: 2500 train, 500 validation, 1003 test, "
        r"28x28x1, 10 classes \(0 to 9\)\.",
    ]
    losses = every.losses()
    for epoch in (1, 2):
        for batch in range(0, PER_EPOCH, 10):
            loss = losses[(epoch - 1) * PER_EPOCH + batch + 1]
            lines.append(re.escape(f"Batch #{batch}\tLoss: {loss:.6f}"))
        end = epoch * PER_EPOCH
        lines += ["", rf"Train time for epoch #{epoch} \(global step {end}\): \d+\.\d{{6}}"]
        for split, name in (("validation", "Validation set"), ("test", "Test set")):
            (score,) = (s for s in every.metrics(split) if s["step"] == end)
            figures = f"Average loss: {score['loss']:.4f}, Accuracy: {100 * score['accuracy']:4f}%"
            lines += [re.escape(f"{name}: {figures}"), ""]
    lines.append("weights_sha256: [0-9a-f]{64}")
    found = base.out.splitlines()
    assert len(found) == len(lines), base.out
    for line, pattern in zip(found, lines, strict=True):
        assert re.fullmatch(pattern, line), (line, pattern)


def test_nothing_else_is_said(base):
    assert base.err == ""
    assert "\r" not in base.out  # no bar: the output is no terminal


def test_metrics_at_the_log_interval(base, every, trainer, small):
    """The step's own mean, whatever the interval, and each evaluation."""
    assert list(every.losses()) == list(range(1, STEPS + 1))
    seven = trainer(*small, "--epochs=2", "--log_interval=7")
    none = trainer(*small, "--epochs=2", "--log_interval=0")
    for run, interval in ((base, 10), (seven, 7), (none, 100)):
        assert run.metrics("train") == [
            line for line in every.metrics("train") if line["step"] % interval == 0
        ]
        for split in ("validation", "test"):
            assert [line["step"] for line in run.metrics(split)] == [40, 80]
            assert run.metrics(split) == every.metrics(split)
    assert "Batch #" not in none.out
    assert {line["epoch"] for line in every.metrics("train") if line["step"] <= 40} == {1}
    assert {line["epoch"] for line in every.metrics("train") if line["step"] > 40} == {2}
    last = every.metrics("train")[PER_EPOCH - 1]  # 4 images, so an accuracy in quarters
    assert last["accuracy"] in (0.0, 0.25, 0.5, 0.75, 1.0)


def test_floats_in_full_precision(base):
    for line in base.lines("metrics.jsonl"):
        if line["split"] == "train":
            assert float(np.float32(line["loss"])) == line["loss"]
    digits = [len(str(line["loss"])) for line in base.lines("metrics.jsonl")]
    assert min(digits) > 12


def test_tensorboard(base, every, trainer):
    """Read by TensorBoard: every 10 steps of training, each evaluation in a folder of its split.

    A quantity has one name in all of them, and so one chart.
    """
    found = trainer.series(base.folder / "out")
    for tag, key in {"loss": "loss", "accuracy": "accuracy", "learning_rate": "lr"}.items():
        assert found[tag] == [
            (line["step"], float(np.float32(line[key])))
            for line in every.metrics("train")
            if line["step"] % 10 == 0
        ]
    for split, folder in (("test", "eval"), ("validation", "validation")):
        found = trainer.series(base.folder / "out" / folder)
        for name in ("loss", "accuracy"):
            assert found[name] == [
                (line["step"], float(np.float32(line[name]))) for line in base.metrics(split)
            ]


def test_tensorboard_shows_what_the_machine_does(base, trainer):
    """After each block of ten steps."""
    found = trainer.series(base.folder / "out")
    ends = [line["step"] for line in base.lines("times.jsonl")]
    for tag, low, high in (
        *(("images_per_s", 1.0, 1e6), ("input_wait", 0.0, 1.0)),
        ("memory_bytes", 200 << 20, 4 << 30),
    ):
        assert [step for step, _ in found[tag]] == ends
        assert all(low <= value <= high for _, value in found[tag])
    seconds = [0.0] + [line["seconds"] for line in base.lines("times.jsonl")]
    for number, (step, rate) in enumerate(found["images_per_s"]):
        images = 9 * 64 + 4 if step % 40 == 0 else 10 * 64  # an epoch's last batch is of 4
        took = seconds[number + 1] - seconds[number]
        assert rate * took == pytest.approx(images, rel=1e-3)


def test_the_gradients_norm(trainer, small, tmp_path):
    """Of plain descent it is what the weights moved by, over the rate; and what clipping left."""
    flags = [*small, "--optimizer=sgd", "--lr=0.1", "--steps_per_loop=1", "--max_steps=10"]
    run = trainer(*flags, "--checkpoint_every_steps=9")
    before, after = (trainer.weights(run.folder / f"ck/ckpt-{step}") for step in (9, 10))
    moved = [after[name] - before[name] for name in after if name.startswith("model/")]
    norm = np.sqrt(sum(float((part.astype(float) ** 2).sum()) for part in moved)) / 0.1
    ((step, value),) = trainer.series(run.folder / "out")["gradient_norm"]
    assert (step, value) == (10, pytest.approx(norm, rel=1e-3))
    clipped = trainer(*flags, "--clip_norm=0.01")
    ((_, value),) = trainer.series(clipped.folder / "out")["gradient_norm"]
    assert value == pytest.approx(0.01)


def test_tensorboard_shows_the_run_once(base, trainer):
    """The flags and the graph at its start, pictures with each evaluation of the test set."""
    found = trainer.series(base.folder / "out")
    assert found["graph"][0][1] > 10
    (key,) = (name for name in found if name.startswith("_hparams_/"))
    assert len(found[key]) == 1
    found = trainer.series(base.folder / "out/eval")
    wrong = round((1 - base.result()["test_accuracy"]) * 1003)
    rows = -(-min(wrong, 48) // 8)
    assert found["confusion_matrix"] == [(40, [440, 440]), (80, [440, 440])]
    assert found["worst_mistakes"][1] == (80, [8 * 94 + 10, rows * 126 + 10])


def test_result(base, subset):
    result = base.result()
    (test,) = (line for line in base.metrics("test") if line["step"] == STEPS)
    (validation,) = (line for line in base.metrics("validation") if line["step"] == STEPS)
    assert (result["test_loss"], result["test_accuracy"]) == (test["loss"], test["accuracy"])
    assert result["validation_loss"] == validation["loss"]
    assert result["validation_accuracy"] == validation["accuracy"]
    assert (result["steps"], result["epochs"], result["stopped"]) == (STEPS, 2.0, "completed")
    assert (result["num_replicas"], result["num_workers"]) == (1, 1)
    assert result["train_seconds"] == base.lines("times.jsonl")[-1]["seconds"] > 0
    assert result["images_per_s"] == pytest.approx(5000 / result["train_seconds"])
    # 5x5x1x2 + 2, 5x5x2x4 + 4, 4x4x4x16 + 16, 16x10 + 10
    assert result["parameters"] == 52 + 204 + 1040 + 170
    assert result["precision"] == "float32"
    assert result["data"] == sources.load(str(subset), "", 500).fingerprint
    config = Config(
        **{"no_gpu": True, "data_dir": str(subset), "conv_filters": (2, 4), "dense_units": (16,)},
        **{"validation_size": 500, "epochs": 2, "output_dir": f"{base.folder}/out"},
        checkpoint_dir=f"{base.folder}/ck",
    )
    assert result["config"] == json.loads(json.dumps(dataclasses.asdict(config)))
    for name in ("tensorflow", "keras", "numpy"):
        assert result["versions"][name] == metadata.version(name)


def test_resources(base):
    """Those of the run, in result.json and in the log's head."""
    used = base.result()["resources"]
    assert used["hostname"] == os.uname().nodename
    assert used["machine_cores"] == os.cpu_count()
    assert used["cores"] == len(os.sched_getaffinity(0))
    assert 200 << 20 < used["peak_memory_bytes"] < 4 << 30  # TensorFlow and the data
    assert 1.0 < used["cpu_percent"] < 100.0 * (os.cpu_count() + 1)
    head = re.search(r"(\d+) of (\d+) cores of (\S+), (\d+) % CPU and (\d+) MiB", base.out)
    assert (head[1], head[2]) == (str(used["cores"]), str(used["machine_cores"]))
    assert head[3] == used["hostname"]
    assert 200 < int(head[5]) <= round(used["peak_memory_bytes"] / 2**20)


def test_checkpoints_of_a_run(base):
    assert base.checkpoints() == [40, 80]
    assert sorted(path.name for path in base.folder.iterdir()) == ["ck", "out"]
    assert sorted(path.name for path in (base.folder / "ck").iterdir()) == ["ckpt-40", "ckpt-80"]


def test_the_same_seed_the_same_bytes(base, trainer, small, every):
    again = trainer(*small, "--epochs=2")
    metrics = (base.folder / "out/metrics.jsonl").read_bytes()
    assert (again.folder / "out/metrics.jsonl").read_bytes() == metrics
    other = trainer(*small, "--epochs=2", "--seed=1", "--log_interval=1")
    assert not set(other.losses().values()) & set(every.losses().values())


@pytest.mark.parametrize("steps", [1, 7, 10**9])
def test_steps_per_loop_changes_nothing(every, trainer, small, steps):
    """1 and 7 cut the epoch elsewhere; what is asked for beyond an epoch takes no memory."""
    run = trainer(*small, "--epochs=2", "--log_interval=1", f"--steps_per_loop={steps}")
    metrics = (every.folder / "out/metrics.jsonl").read_bytes()
    assert (run.folder / "out/metrics.jsonl").read_bytes() == metrics
    blocks = [line["step"] for line in run.lines("times.jsonl")]
    if steps < PER_EPOCH:
        ends = {*range(steps, STEPS + 1, steps), PER_EPOCH, STEPS}
        assert blocks == sorted(ends)
    else:
        assert blocks == [40, 80]


def test_eager_is_the_graph(every, trainer, small):
    eager = trainer(*small, "--epochs=2", "--log_interval=1", "--eager")
    assert apart(eager, every) < SAME
    assert abs(eager.result()["test_loss"] - every.result()["test_loss"]) < SAME
    assert eager.result()["test_accuracy"] == every.result()["test_accuracy"]


def test_channels_first_is_channels_last(every, trainer, small):
    run = trainer(*small, "--epochs=2", "--log_interval=1", "--data_format=channels_first")
    assert "and data format channels_first." in run.out
    assert apart(run, every) < SAME
    assert run.result()["test_accuracy"] == every.result()["test_accuracy"]
    first, last = (trainer.weights(r.folder / "ck/ckpt-80") for r in (run, every))
    assert {name: array.shape for name, array in first.items()} == {
        name: array.shape for name, array in last.items()
    }
    eager = trainer(*small, "--data_format=channels_first", "--eager")
    assert "--data_format=channels_first with --eager" in eager.refused()


def test_xla_is_tensorflow(trainer, small):
    """With everything on, in float64; but not the augmentation, which is sampled in float32."""
    flags = (
        *("--precision=float64", "--log_interval=1", "--max_steps=14", "--residual"),
        *("--kernel_size=3", "--batch_norm", "--optimizer=adam", "--schedule=onecycle"),
        *("--label_smoothing=0.1", "--ema=0.9", "--clip_norm=1", "--weight_decay=0.01"),
    )
    wanted = trainer(*small, *flags)
    assert "; precision float64." in wanted.out
    run = trainer(*small, *flags, "--xla=on")
    assert "; precision float64, compiled by XLA." in run.out
    assert list(run.losses()) == list(wanted.losses()) == list(range(1, 15))
    for step, loss in wanted.losses().items():
        assert run.losses()[step] == pytest.approx(loss, rel=1e-12)
    assert run.result()["test_loss"] == pytest.approx(wanted.result()["test_loss"], rel=1e-12)
    assert run.result()["weights_sha256"] != wanted.result()["weights_sha256"]


def test_xla_is_resumed_bit_for_bit(trainer, small):
    flags = ("--log_interval=1", "--kernel_size=2", "--shift_px=2", "--rotate_deg=10")
    once = trainer(*small, *flags, "--max_steps=14", "--xla=on")
    stopped = trainer(*small, *flags, "--max_steps=5", "--xla=on")
    there = trainer(*small, *flags, "--max_steps=14", "--xla=on", folder=stopped.folder)
    assert there.result()["weights_sha256"] == once.result()["weights_sha256"]
    assert there.losses() == once.losses()
    without = trainer(*small, *flags, "--max_steps=15", folder=stopped.folder)
    assert "The bits may differ from here on (xla: on then, off now).\n" in without.out


@pytest.mark.parametrize("precision", FOUR_LAYERS)
def test_mixed_precision(every, trainer, small, precision):
    run = trainer(*small, "--epochs=2", "--log_interval=1", f"--precision={precision}")
    assert run.code == 0, run.err
    assert f"; precision {precision}." in run.out
    assert 1e-6 < apart(run, every) < FOUR_LAYERS[precision]
    weights = trainer.weights(run.folder / "ck/ckpt-80")
    assert {str(weights[name].dtype) for name in weights if name.startswith("model")} == {"float32"}
    assert ("loss_scale/scale" in weights) == (precision == "mixed_float16")


def test_precision_auto_is_measured(trainer, small):
    """It names the figures, and trains as a run that names the precision."""
    run = trainer(*small, "--max_steps=10", "--precision=auto")
    assert run.code == 0, run.err
    chosen = run.result()["precision"]
    assert f"; precision {chosen}.\n" in run.out
    figures = r"[\d.]+ \(loss [\d.]+\)"
    line = rf"^--precision=auto: {chosen}, measured, ms a step: float32 {figures}, mixed_bfloat16 "
    assert re.search(rf"{line}{figures}$", run.out, re.M)
    named = trainer(*small, "--max_steps=10", f"--precision={chosen}")
    assert named.lines("metrics.jsonl") == run.lines("metrics.jsonl")


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_precision_auto_goes_on_as_the_run_was_begun(trainer, small, precision):
    first = trainer(*small, "--max_steps=10", f"--precision={precision}")
    again = trainer(*small, "--max_steps=20", "--precision=auto", folder=first.folder)
    assert f"--precision=auto: {precision}, as the run was begun\n" in again.out
    assert (again.result()["precision"], again.result()["steps"]) == (precision, 20)


def test_a_trace_of_some_steps(every, trainer, small):
    """The steps are cut where it begins and ends, and nothing else changes."""
    run = trainer(*small, "--max_steps=25", "--log_interval=1", "--profile=8:4")
    assert run.code == 0, run.err
    assert list((run.folder / "out").rglob("*.xplane.pb"))
    assert [line["step"] for line in run.lines("times.jsonl")] == [8, 10, 12, 20, 25]
    assert run.metrics("train") == every.metrics("train")[:25]
    none = trainer(*small, "--max_steps=5", "--profile=8:4")
    assert not list((none.folder / "out").rglob("*.xplane.pb"))


def test_max_steps_in_mid_epoch(every, trainer, small):
    run = trainer(*small, "--max_steps=53", "--log_interval=1")
    assert run.metrics("train") == every.metrics("train")[:53]
    assert [line["step"] for line in run.metrics("test")] == [40, 53]
    assert run.checkpoints() == [40, 53]
    result = run.result()
    assert (result["stopped"], result["steps"], result["epochs"]) == ("max_steps", 53, 53 / 40)
    assert "(global step 53)" in run.out


def test_without_a_validation_split(trainer, subset):
    run = trainer(*SMALL, f"--data_dir={subset}", "--validation_size=0", "--max_steps=2")
    assert ": 3000 train, 0 validation, 1003 test, 28x28x1, 10 classes (0 to 9)." in run.out
    assert "Validation" not in run.out
    assert run.metrics("validation") == []
    assert run.result()["validation_accuracy"] is None
    assert run.result()["validation_loss"] is None


AFFINITY = """
import os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from mnist_dist.train import main
code = main(sys.argv[1:])
import tensorflow as tf
print(tf.config.threading.get_intra_op_parallelism_threads())
sys.exit(code)
"""


def test_threads_follow_the_affinity(tmp_path, small):
    run = train(tmp_path, *small, "--max_steps=1", command=(sys.executable, "-c", AFFINITY))
    assert run.code == 0, run.err
    assert f"; 1 of {os.cpu_count()} cores of " in run.out
    assert run.out.splitlines()[-1] == "1"
    assert run.result()["resources"]["cores"] == 1


def test_from_python(trainer, subset, tmp_path):
    """`run(Config(...))`: no flags, no process of its own."""
    network = {"no_gpu": True, "conv_filters": (2, 4), "dense_units": (16,)}
    data = {"data_dir": subset, "validation_size": 500}
    places = {"checkpoint_dir": tmp_path / "ck", "output_dir": tmp_path / "out"}
    one = {**network, **data, **places, "log_interval": 1}

    def left():
        """What the files say: result.json and the rows of metrics.jsonl."""
        rows = (tmp_path / "out/metrics.jsonl").read_text().splitlines()
        result = json.loads((tmp_path / "out/result.json").read_text())
        return {**result, "history": [json.loads(row) for row in rows]}

    first = trainer.api(**one, max_steps=2)
    assert first["stopped"] == "max_steps"
    assert first == left()
    assert [row["split"] for row in first["history"]] == ["train", "train", "validation", "test"]
    again = trainer.api(**one, max_steps=2)  # it is finished, and says so again
    assert (again["stopped"], again["history"]) == ("max_steps", first["history"])
    assert trainer.api(told="SIGTERM", **one, max_steps=30)["stopped"] == "preempted"
    whole = trainer.api(**one, epochs=1)
    assert whole["stopped"] == "completed"
    assert whole == left()
    steps = [row["step"] for row in whole["history"] if row["split"] == "train"]
    assert steps == list(range(1, 41))  # of all three attempts
    assert trainer.api(**one, lr=0.5).startswith("UsageError: ")
    other = {**one, "checkpoint_dir": tmp_path / "other"}
    assert trainer.api(**other, describe=True).startswith("UsageError: --describe")
    assert trainer.api(**other, batch_size=2501).startswith("UsageError: --batch_size=2501")
    assert not (tmp_path / "other").exists()


def test_a_result_without_an_output_dir_has_its_history(trainer, subset, tmp_path):
    network = {"no_gpu": True, "conv_filters": (2, 4), "dense_units": (16,)}
    data = {"data_dir": subset, "validation_size": 500}
    rows = {}
    for name, folder in (("with", {"output_dir": tmp_path / "out"}), ("without", {})):
        given = {**network, **data, **folder, "checkpoint_dir": tmp_path / name, "max_steps": 20}
        rows[name] = trainer.api(**given)["history"]
    assert rows["without"] == rows["with"]
    assert [row["step"] for row in rows["without"]] == [10, 20, 20, 20]


FROZEN = """
import dataclasses, sys
from mnist_dist.config import Config
from mnist_dist.errors import UsageError
from mnist_dist.train import run
given = dict(no_gpu=True, conv_filters=(2,), dense_units=(), max_steps=1)
result = run(Config(**given, checkpoint_dir=sys.argv[1] + "/1"))
try:
    result.steps = 5
except dataclasses.FrozenInstanceError as error:
    print("frozen", result.steps, result.stopped)
again = run(Config(**given, checkpoint_dir=sys.argv[1] + "/2"))
print("again", again.history == result.history)
for flags in ({"virtual_devices": 2}, {"threads": 1}, {"workers": 2}):
    environment = {}
    if flags.pop("threads", 0):
        import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if flags.pop("workers", 0):
        environment = {"TF_CONFIG": sys.argv[2]}
    try:
        run(Config(**given, **flags, checkpoint_dir=sys.argv[1] + "/3"), environment)
    except UsageError as error:
        print("UsageError", error)
"""


def test_a_second_run_in_one_process(tmp_path):
    """The same devices: it works. Others, other threads or workers: one line says so."""
    cluster = {"worker": ["localhost:29351", "localhost:29352"]}
    two = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0}})
    done = warm.run(
        [sys.executable, "-c", FROZEN, str(tmp_path), two],
        **{"capture_output": True, "text": True, "cwd": ROOT, "timeout": 240},
        env=environment(),
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    lines = done.stdout.splitlines()
    assert "frozen 1 max_steps" in lines
    assert "again True" in lines
    refused = [line for line in lines if line.startswith("UsageError")]
    words = "this process has already used TensorFlow with other"
    kinds = ["devices", "threads", "devices"] if len(os.sched_getaffinity(0)) > 1 else ["devices"]
    assert [f"{words} {kind} (" in line for line, kind in zip(refused, kinds, strict=True)]
    assert all(line.endswith("start a new process for this run") for line in refused)
    assert not (tmp_path / "3").exists()
