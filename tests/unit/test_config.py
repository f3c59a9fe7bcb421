"""Config: the default of each flag of the notebook, every limit, what decides a run's numbers."""

import dataclasses
import math
import re

import pytest

from mnist_dist.config import Config
from mnist_dist.errors import UsageError
from mnist_dist.optimizers import OPTIMIZERS

# name -> (values at the border that are allowed, values that are not)
LIMITS = {
    "validation_size": ([0, 5000], [-1]),
    "epochs": ([1], [0, -1]),
    "max_steps": ([0], [-1]),
    "batch_size": ([1, 65536], [0, -64]),
    "accumulate_steps": ([1, 64], [0]),
    "seed": ([0, 2**31 - 1], [-1, 2**31]),
    "precision": (
        ["float32", "tf32", "mixed_bfloat16", "mixed_float16", "float64", "auto"],
        ["", "float16", "FLOAT32"],
    ),
    "validation": (["first", "shuffled"], ["", "last"]),
    "shards": ([0, 1, 8, 64], [-1, 3, 12, 128]),
    "steps_per_loop": ([0, 1], [-1]),
    "optimizer": (list(OPTIMIZERS), ["", "SGD", "lbfgs"]),
    "lr": ([0.0, 1e30], [-1e-9, 1e31, math.nan, math.inf, -math.inf]),
    "momentum": ([0.0, 0.9999], [-0.1, 1.0, math.nan]),
    "beta_1": ([0.0, 0.999999], [-0.1, 1.0, math.nan]),
    "beta_2": ([0.0, 0.999999], [-0.1, 1.0, math.nan]),
    "rho": ([0.0, 0.999999], [-0.1, 1.0, math.nan]),
    "epsilon": ([1e-300], [0.0, -1e-7, math.nan, math.inf]),
    "weight_decay": ([0.0], [-1e-9, math.inf]),
    "schedule": (["constant", "onecycle", "cosine", "step"], ["", "linear"]),
    "warmup_steps": ([0], [-1]),
    "clip_norm": ([0.0], [-1.0, math.nan]),
    "label_smoothing": ([0.0, 0.999], [-0.1, 1.0, math.nan]),
    "ema": ([0.0, 0.99999], [-0.1, 1.0, math.nan]),
    "conv_filters": ([(), (1,), (1, 2, 3)], [(0,), (32, -1)]),
    "kernel_size": ([1], [0]),
    "dense_units": ([(), (1,)], [(0,), (10, 0)]),
    "dropout": ([0.0, 0.999], [-0.1, 1.0, math.nan]),
    "xla": (["auto", "on", "off"], ["", "yes"]),
    "data_format": (["auto", "channels_first", "channels_last"], ["", "NHWC"]),
    "shift_px": ([0.0], [-1.0, math.inf]),
    "rotate_deg": ([0.0, 180.0], [-1.0, 181.0, math.nan]),
    "zoom": ([0.0, 0.9], [-0.1, 0.91, math.nan]),
    "patience": ([0, 1], [-1]),
    "min_delta": ([0.0], [-0.1, math.nan]),
    "monitor": (["validation_loss", "validation_accuracy"], ["", "test_accuracy"]),
    "gpu_memory_mib": ([0, 512], [-1]),
    "virtual_devices": ([0, 64], [-1, 65]),
    "strategy": (["auto", "one", "mirrored", "multi_worker"], ["", "tpu"]),
    "cluster": (["auto", "slurm", "tf_config", "none"], ["", "k8s"]),
    "connect_timeout": ([0.001], [0.0, -1.0, math.inf]),
    "peer_timeout": ([2.0], [1.9, math.nan]),
    "collective": (["auto", "ring", "nccl"], ["", "mpi"]),
    "reduce": (["auto", "product", "factors"], ["", "sum"]),
    "bytes_per_pack": ([0], [-1]),
    "wire_dtype": (["float32", "bfloat16"], ["", "float16"]),
    "log_interval": ([0], [-1]),
    "log_every_s": ([0.0, 30.0], [-1.0]),
    "checkpoint_every_steps": ([0], [-1]),
    "digest_every_steps": ([0, 1], [-1]),
    "check_every_steps": ([0, 1], [-1]),
    "checkpoint_every_s": ([0.0, 0.5], [-1.0, math.inf]),
    "keep_checkpoints": ([1], [0]),
    "stop_lead_s": ([0.0, 120.0], [-1.0, math.inf]),
    "resume": (["auto", "never", "must"], ["", "yes"]),
    "verbosity": ([-3, -1, 1, 3], [-4, 4]),
}
WITHOUT = {
    *(
        "class_names",
        "data_dir",
        "dataset",
        "gpus",
        "init_from",
        "interface",
        "run_dir",
        "output_dir",
        "checkpoint_dir",
    ),
    *("eager", "batch_norm", "residual", "no_gpu", "describe", "nondeterministic", "profile"),
    "network",
}


def test_every_flag_is_here():
    assert {field.name for field in dataclasses.fields(Config)} == {*LIMITS, *WITHOUT}


@pytest.mark.parametrize("name", LIMITS)
def test_limits(name):
    allowed, refused = LIMITS[name]
    for value in allowed:
        assert getattr(Config(**{name: value}), name) == value
    for value in refused:
        with pytest.raises(UsageError) as caught:
            Config(**{name: value})
        line = str(caught.value)
        assert line.startswith(f"--{name}=")
        assert "give " in line
        assert "\n" not in line


def test_what_a_refusal_says():
    """What was given, what is allowed."""
    for flags, line in [
        ({"batch_size": 0}, "--batch_size=0: out of range; give at least 1"),
        ({"dropout": 1.0}, "--dropout=1.0: out of range; give at least 0.0 and at most 0.999"),
        ({"epsilon": 0.0}, "--epsilon=0.0: out of range; give more than 0.0"),
        ({"lr": math.nan}, "--lr=nan: give a finite number"),
        ({"conv_filters": (8, 0)}, "--conv_filters=0: out of range; give at least 1"),
        (
            {"collective": "mpi"},
            "--collective=mpi: allowed are auto, ring, nccl; give one of them",
        ),
    ]:
        with pytest.raises(UsageError) as caught:
            Config(**flags)
        assert str(caught.value) == line


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"patience": 1, "validation_size": 0}, ["--patience=1", "--validation_size"]),
        ({"no_gpu": True, "gpus": "2"}, ["--gpus=2", "--no_gpu"]),
        ({"accumulate_steps": 9, "batch_size": 8}, ["--accumulate_steps=9", "--batch_size=8"]),
        ({"profile": "100", "output_dir": "out"}, ["--profile=100", "STEP:COUNT"]),
        ({"profile": "100:0", "output_dir": "out"}, ["--profile=100:0", "STEP:COUNT"]),
        ({"profile": "100:10"}, ["--profile=100:10", "--output_dir"]),
        ({"shards": 6}, ["--shards=6", "power of two", "4 or 8"]),
        ({"shards": 16, "batch_size": 10}, ["--shards=16", "--batch_size=10"]),
        ({"shards": 4, "wire_dtype": "bfloat16"}, ["--shards", "--wire_dtype=bfloat16"]),
        ({"shards": 4, "eager": True}, ["--shards", "--eager"]),
        ({"shards": 4, "nondeterministic": True}, ["--shards", "--nondeterministic"]),
        (
            {"check_every_steps": 9, "nondeterministic": True},
            ["--check_every_steps=9", "--nondeterministic"],
        ),
        (
            {"shards": 4, "batch_norm": True, "accumulate_steps": 2},
            ["--shards", "--batch_norm", "--accumulate_steps=2"],
        ),
        (
            {"xla": "on", "shards": 4, "batch_norm": True},
            ["--xla=on", "--shards=4 --batch_norm", "all shards"],
        ),
        (
            {"xla": "on", "shards": 4, "reduce": "factors"},
            ["--xla=on", "--shards=4 --reduce=factors"],
        ),
        ({"xla": "on", "eager": True}, ["--xla=on", "--eager"]),
        (
            {"xla": "on", "data_format": "channels_first"},
            ["--xla=on", "--data_format=channels_first"],
        ),
        (
            {"network": "a.py:f", "reduce": "factors"},
            ["--network=a.py:f", "--reduce=factors", "built-in network"],
        ),
        ({"checkpoint_dir": ""}, ["--checkpoint_dir", "folder"]),
    ],
)
def test_combinations(flags, words):
    with pytest.raises(UsageError) as caught:
        Config(**flags)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    "flags",
    [
        {"lr": "0.1"},
        {"batch_size": 2.0},
        {"epochs": True},
        {"eager": 1},
        {"output_dir": None},
        {"conv_filters": [8, 16]},
        {"conv_filters": (8.0,)},
        {"dense_units": 16},
    ],
    ids=str,
)
def test_types(flags):
    with pytest.raises(UsageError, match=f"--{next(iter(flags))}=.*: give a value of type"):
        Config(**flags)


def test_run_dir_sets_both_folders():
    config = Config(run_dir="runs/a")
    assert (config.output_dir, config.checkpoint_dir) == ("runs/a", "runs/a/checkpoints")
    config = Config(run_dir="runs/a", output_dir="o", checkpoint_dir="c")
    assert (config.output_dir, config.checkpoint_dir) == ("o", "c")  # what is given is taken
    assert Config(**{**dataclasses.asdict(config), "conv_filters": (2,)}).output_dir == "o"


FOLDERS = ("data_dir", "run_dir", "output_dir", "checkpoint_dir")


@pytest.mark.parametrize("name", FOLDERS)
def test_a_home_is_looked_up(name, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert getattr(Config(**{name: "~/x/"}), name) == "/home/ada/x"
    assert getattr(Config(**{name: "a/~/x"}), name) == "a/~/x"
    with pytest.raises(UsageError) as caught:
        Config(**{name: "~nobody-of-this-name/x"})
    assert str(caught.value) == (
        f"--{name}=~nobody-of-this-name/x: there is no such home; give the whole path"
    )


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("scheme", ["gs", "s3", "hdfs", "abfs+x.y-z", "file"])
def test_what_is_no_folder_here_is_refused(name, scheme):
    with pytest.raises(UsageError, match=rf"--{name}={re.escape(scheme)}://b/x: give a folder of"):
        Config(**{name: f"{scheme}://b/x"})
    assert getattr(Config(**{name: f"{scheme}:/x"}), name) == f"{scheme}:/x"


def test_a_float_may_be_given_as_an_int():
    assert Config(lr=1).lr == 1


def test_the_notebooks_defaults():
    config = Config()
    assert config.data_dir == "/tmp/tensorflow/mnist/input_data"
    assert config.checkpoint_dir == "/tmp/tensorflow/mnist/checkpoints/"
    assert config.output_dir == ""
    assert (config.batch_size, config.log_interval, config.epochs) == (64, 10, 10)
    assert (config.optimizer, config.lr, config.momentum) == ("momentum", 0.01, 0.5)
    assert (config.conv_filters, config.kernel_size) == ((32, 64), 5)
    assert (config.dense_units, config.dropout) == ((1024,), 0.5)
    assert (config.no_gpu, config.precision, config.seed) == (False, "float32", 0)
    assert config.validation_size == 5000


@pytest.mark.parametrize(("optimizer", "rate"), [(n, o.lr) for n, o in OPTIMIZERS.items()])
def test_each_optimizer_has_its_rate(optimizer, rate):
    assert Config(optimizer=optimizer).lr == rate
    assert Config(optimizer=optimizer, lr=0.25).lr == 0.25
    usual = {"rmsprop": 0.0, "muon": 0.95}.get(optimizer, 0.5)
    assert Config(optimizer=optimizer).momentum == usual
    assert Config(optimizer=optimizer, momentum=0.25).momentum == 0.25
    assert Config(optimizer=optimizer).weight_decay == (0.004 if optimizer == "adamw" else 0.0)
    assert Config(optimizer=optimizer, weight_decay=0.0).weight_decay == 0.0


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().lr = 1.0


# A resume with another value of one of these would give other numbers than the run never stopped.
NUMBERS = {
    *("validation_size", "batch_size", "seed", "precision", "optimizer", "lr", "momentum"),
    *("beta_1", "beta_2", "rho", "epsilon", "weight_decay", "schedule", "warmup_steps"),
    *("clip_norm", "label_smoothing", "ema", "conv_filters", "kernel_size", "dense_units"),
    *("dropout", "batch_norm", "residual", "shift_px", "rotate_deg", "zoom", "patience"),
    *("min_delta", "monitor", "wire_dtype"),
}


def test_numbers():
    assert set(Config().numbers()) == NUMBERS
    assert Config(conv_filters=(3, 4)).numbers()["conv_filters"] == [3, 4]  # as JSON has it
    for schedule in ("onecycle", "cosine", "step"):  # stretched over the epochs
        assert set(Config(schedule=schedule).numbers()) == NUMBERS | {"epochs"}
    normalised = Config(batch_norm=True, accumulate_steps=2).numbers()
    assert set(normalised) == NUMBERS | {"accumulate_steps"}
    assert normalised["accumulate_steps"] == 2
    assert set(Config(shards=4).numbers()) == NUMBERS | {"shards"}
    for reduce in ("product", "factors"):  # changes the order of a sum, as the replicas do
        assert set(Config(reduce=reduce).numbers()) == NUMBERS


def test_its_repr_has_what_differs_and_makes_it_again():
    assert repr(Config()) == "Config()"
    given = {"epochs": 1, "no_gpu": True, "run_dir": "runs/a", "conv_filters": (8, 16)}
    config = Config(optimizer="adam", lr=0.004, **given)
    assert repr(config) == (
        "Config(epochs=1, optimizer='adam', lr=0.004, conv_filters=(8, 16), no_gpu=True, "
        "run_dir='runs/a')"
    )
    for one in (config, Config(checkpoint_dir="ck", output_dir="out", optimizer="adamw")):
        assert eval(repr(one)) == one  # noqa: S307  # its own text
