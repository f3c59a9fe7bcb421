"""--init_from: a run starts from another run's weights, whatever replicas it has."""

import re
import shutil

import numpy as np
import pytest

from tests.curves import train as with_workers
from tests.mnist_files import cut
from tests.process.trainer import train

STILL = ("--lr=0", "--max_steps=1", "--log_interval=0")
"""A step that changes no weight, so that the checkpoint has the initial ones."""


def relabelled(folder, classes):
    """1,000 images whose labels are those of MNIST modulo `classes`."""
    cut(folder, 1000, 100)
    for path in folder.glob("*labels*"):
        data = path.read_bytes()
        path.write_bytes(data[:8] + bytes(label % classes for label in data[8:]))
    return folder


def network(trainer, run, step, prefix="model/"):
    found = trainer.weights(run.folder / f"ck/ckpt-{step}")
    return {n.removeprefix(prefix): a for n, a in found.items() if n.startswith(prefix)}


def lines(run):
    return [line for line in run.out.splitlines() if line.startswith(("Starts ", "Not in "))]


def test_a_head_for_other_classes_starts_anew(trainer, small, every, tmp_path):
    """The other layers are those of the source; the head is that of a run without it."""
    others = [flag for flag in small if "data_dir" not in flag]
    given = (*others, f"--data_dir={relabelled(tmp_path / 'data', 5)}", *STILL)
    plain, run = trainer(*given), trainer(*given, f"--init_from={every.folder}/ck")
    assert plain.code == run.code == 0, run.err
    assert lines(plain) == []
    assert lines(run) == [
        f"Starts from the weights of {every.folder}/ck/ckpt-80: conv1, conv2, dense1.",
        "Starts anew: logits (logits/kernel is [16, 10] there and [16, 5] here).",
    ]
    source, initial, found = (network(trainer, *r) for r in ((every, 80), (plain, 1), (run, 1)))
    for name, array in found.items():
        expected = initial if name.startswith("logits/") else source
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
        assert name.endswith("bias") or (initial[name] != found[name]).any() != (
            expected is initial
        )


def test_the_weights_that_the_run_was_scored_with(trainer, small, rich):
    """Averages, and those of the best step; where this run averages, they start so, too."""
    given = (*small, "--batch_norm", "--residual", "--ema=0.5", *STILL)
    run = trainer(*given, f"--init_from={rich.folder}/out")
    assert run.code == 0, run.err
    assert f"{rich.folder}/ck/ckpt-40: conv1, conv1b, conv1s, conv2," in lines(run)[0]
    assert len(lines(run)) == 1
    averages = network(trainer, rich, 40, "optimizer/average/")
    assert (averages["logits/kernel"] != network(trainer, rich, 40)["logits/kernel"]).any()
    found = network(trainer, run, 1), network(trainer, run, 1, "optimizer/average/")
    for name, array in averages.items():
        for own in found:
            np.testing.assert_array_equal(own[name], array, err_msg=name)
    moving = network(trainer, rich, 40)["conv1/moving_mean"]
    assert np.abs(found[0]["conv1/moving_mean"] - moving).max() < np.abs(moving).max()


def test_classes_of_other_names(trainer, small, every, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join("abcdefghij"))
    named = f"--class_names={tmp_path}/names.txt"
    first = trainer(*small, named, *STILL, f"--init_from={every.folder}/ck")
    assert lines(first)[1] == "Starts anew: logits (its classes have other names there)."
    again = trainer(*small, named, *STILL, f"--init_from={first.folder}/ck")
    assert lines(again) == [
        f"Starts from the weights of {first.folder}/ck/ckpt-1: conv1, conv2, dense1, logits."
    ]


def test_the_same_bits_on_any_replicas_and_resumed_without_the_source(
    trainer, small, every, tmp_path
):
    """Alone; and on two replicas, then on two workers, after the source was deleted."""
    shutil.copytree(every.folder / "ck", tmp_path / "source")
    given = (
        *(*small, f"--init_from={tmp_path}/source", "--shards=4", "--ema=0.9", "--lr=0.02"),
        *("--log_interval=1", "--batch_size=60"),
    )
    (tmp_path / "whole").mkdir()
    (tmp_path / "run").mkdir()
    whole = train(tmp_path / "whole", *given, "--max_steps=12")
    assert whole.code == 0, whole.err
    first = train(tmp_path / "run", *given, "--virtual_devices=2", "--max_steps=5")
    assert first.code == 0, first.err
    assert first.result()["config"]["init_weights"] == every.result()["weights_sha256"]
    shutil.rmtree(tmp_path / "source")
    second = with_workers(tmp_path / "run", *given, "--max_steps=12", workers=2)
    assert second.result["weights_sha256"] == whole.result()["weights_sha256"]
    assert second.result["num_workers"] == 2


def test_it_is_part_of_the_identity(trainer, small, every, tmp_path):
    first = trainer(*small, *STILL, f"--init_from={every.folder}/ck")
    without = trainer(*small, *STILL, folder=first.folder).refused()
    digest = every.result()["weights_sha256"]
    assert f"(weights of --init_from: {digest} then, None now)" in without
    assert re.search(r"--run_dir=\S*init_from\b", without), without
    other = trainer(*small, *STILL, f"--init_from={every.folder}/ck/ckpt-40", folder=first.folder)
    assert f"(weights of --init_from: {digest} then, " in other.refused()
    # The same weights in another place are the same run.
    shutil.copytree(every.folder / "ck", tmp_path / "moved")
    moved = trainer(*small, *STILL, f"--init_from={tmp_path}/moved", folder=first.folder)
    assert moved.code == 0, moved.err
    assert "This run is finished" in moved.out


def test_refused(trainer, small, every, tmp_path):
    def line(*flags):
        return trainer(*small, *flags).refused()

    assert "--init_from: none: no such folder; give a run's" in line("--init_from=none")
    assert f"--init_from: {tmp_path}: no run is there" in line(f"--init_from={tmp_path}")
    shutil.copytree(every.folder / "ck", tmp_path / "damaged")
    (tmp_path / "damaged/ckpt-80/state.json").write_bytes(b"{}")
    text = line(f"--init_from={tmp_path}/damaged")
    assert "ckpt-80: its file state.json is damaged" in text
    assert "give one of the others: ckpt-40" in text
    text = line(f"--init_from={every.folder}/ck", "--conv_filters=3,5", "--dense_units=7")
    assert (
        f"no weights of {every.folder}/ck/ckpt-80 fit this network (conv1/kernel is [5, 5, 1, 2]"
        in text
    )


@pytest.mark.parametrize("name", ["dense", "a.b"])
def test_own_networks(trainer, small, tmp_path, name):
    """By the names of their layers, which may have dots; the last layer is the head."""
    path = tmp_path / "own.py"
    path.write_text(
        "import keras\nfrom keras import layers\n"
        "def network(shape, classes):\n"
        "    x = images = keras.Input(shape)\n"
        f"    x = layers.Dense(8, name={name!r})(layers.Flatten()(x))\n"
        "    return keras.Model(images, layers.Dense(classes, name='last')(x))\n"
    )
    given = ("--no_gpu", f"--network={path}:network", f"--data_dir={tmp_path}/data", *STILL[1:])
    relabelled(tmp_path / "data", 10)
    first = trainer(*given, "--validation_size=100")
    again = trainer(*given, "--validation_size=100", "--max_steps=2", folder=first.folder)
    assert again.code == 0, again.err
    relabelled(tmp_path / "data", 5)
    second = trainer(*given, "--lr=0", "--validation_size=100", f"--init_from={first.folder}/ck")
    assert lines(second) == [
        f"Starts from the weights of {first.folder}/ck/ckpt-2: {name}.",
        "Starts anew: last (last/kernel is [8, 10] there and [8, 5] here).",
    ]
    source, found = network(trainer, again, 2), network(trainer, second, 1)
    key = f"{name.replace('.', '..')}/kernel"
    np.testing.assert_array_equal(found[key], source[key])
