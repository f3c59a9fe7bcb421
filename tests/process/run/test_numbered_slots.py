"""A checkpoint of an earlier version, which numbered the optimizer's slots, is resumed.

It was written by: python -m mnist_dist.train --no_gpu --conv_filters= --dense_units=2
--optimizer=adam --ema=0.9 --max_steps=3 --validation_size=0 --checkpoint_dir=run
"""

import shutil
from pathlib import Path

import numpy as np
import tensorflow as tf

OLD = Path(__file__).parent / "numbered_slots" / "ckpt-3"
FLAGS = ("--no_gpu", "--conv_filters=", "--dense_units=2", "--optimizer=adam", "--ema=0.9")
ORDER = ("dense1/kernel", "dense1/bias", "logits/kernel", "logits/bias")


def values(path):
    """Name -> array of a checkpoint."""
    reader = tf.train.load_checkpoint(str(path / "weights"))
    names = [key for key in reader.get_variable_to_shape_map() if key.startswith("variables/")]
    return {key.split("/")[1].replace(".S", "/"): reader.get_tensor(key) for key in names}


def test_it_goes_on_and_is_saved_by_name(trainer, tmp_path):
    folder = tmp_path / "ck"
    shutil.copytree(OLD, folder / "ckpt-3")
    argv = (*FLAGS, "--validation_size=0", "--keep_checkpoints=9", f"--checkpoint_dir={folder}")
    same = trainer.tool("train", *argv, "--max_steps=4", "--lr=0.001", "--log_interval=1")
    assert same.code == 0, same.err
    assert "Goes on from" in same.out
    old, new = values(OLD), values(folder / "ckpt-4")
    assert old["optimizer/slot000"] == 3
    assert new["optimizer/iteration"] == 4
    for number, name in enumerate(ORDER):
        first, second = (
            old[f"optimizer/slot{2 * number + 1:03d}"],
            new[f"optimizer/velocity/{name}"],
        )
        velocity = old[f"optimizer/slot{2 * number + 2:03d}"]
        assert (velocity >= 0.0).all()  # squares: Adam's second moment
        # One more step of g: v = 0.999 v + 0.001 g^2, m = 0.9 m + 0.1 g, so g from m gives v.
        gradient = (new[f"optimizer/momentum/{name}"] - 0.9 * first) / 0.1
        np.testing.assert_allclose(second, 0.999 * velocity + 0.001 * gradient**2, 2e-3, 1e-9)
        weights = new[f"model/{name}"]
        average = 0.9 * old[f"optimizer/average{number:03d}"] + 0.1 * weights
        np.testing.assert_allclose(new[f"optimizer/average/{name}"], average, 1e-5, 1e-7)
