"""float16: an infinite gradient on one replica skips the step on all, and lowers the scale."""

import numpy as np
import pytest

from tests.curves import ROOT, train

FACTORS = ("--reduce=factors", "--dense_units=128")


def variables(folder, step):
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(folder / f"ck/ckpt-{step}/weights"))
    names = [n for n in reader.get_variable_to_shape_map() if n.startswith("variables/")]
    return {name.split("/")[1].replace(".S", "/"): reader.get_tensor(name) for name in names}


@pytest.mark.parametrize(("flags", "workers"), [(("--virtual_devices=2",), 1), (FACTORS, 2)])
def test_an_infinity_on_one_replica(tmp_path, flags, workers):
    flags = (*flags, "--precision=mixed_float16", "--max_steps=6", "--batch_norm")
    flags += ("--checkpoint_every_steps=1", "--keep_checkpoints=9")
    train(tmp_path, *flags, workers=workers, prefix=[f"{ROOT}/tests/devices/overflowing.py"])
    at = {step: variables(tmp_path, step) for step in range(1, 7)}
    for step in range(1, 7):
        assert at[step]["loss_scale/scale"] == (2**15 if step < 4 else 2**14)
        assert at[step]["loss_scale/finite_steps"] == (step if step < 4 else step - 4)
    parts = [n for n in at[1] if n.startswith(("model/", "optimizer/"))]
    assert any("moving_mean" in name for name in parts)
    for before, after, skipped in ((2, 3, False), (3, 4, True), (4, 5, False)):
        same = {n: np.array_equal(at[before][n], at[after][n]) for n in parts}
        assert all(same.values()) if skipped else not same["model/conv1/kernel"], same
    assert all(np.isfinite(value).all() for value in at[6].values())
