"""Run folders written by hand, with the files that a training leaves."""

import json

import numpy as np

FLAGS = {
    "data_dir": "/data", "dataset": "", "validation_size": 5000, "epochs": 10, "max_steps": 0,
    "batch_size": 64, "seed": 0, "optimizer": "momentum", "lr": 0.01, "momentum": 0.5,
    "beta_1": 0.9, "beta_2": 0.999, "schedule": "constant", "conv_filters": [32, 64],
    "dense_units": [1024], "dropout": 0.5, "residual": False, "gpus": "", "log_interval": 10,
    "output_dir": "/runs/x", "checkpoint_dir": "/ck/x",
}  # fmt: skip


def answers(examples, *wrong):
    """Labels 0, 1, ... 9, 0, ... and predictions of the next class for the images in `wrong`."""
    label = np.arange(examples, dtype=np.int32) % 10
    prediction = label.copy()
    prediction[list(wrong)] = (label[list(wrong)] + 1) % 10
    return label, prediction


def write(folder, test=0.98, validation=0.97, label_prediction=None, changes=(), **flags):
    """A finished run in `folder`; `changes` are of result.json, `flags` of its config.

    With `label_prediction` there is a predictions.npz, and the test accuracy is its.
    """
    folder.mkdir(parents=True)
    if label_prediction is not None:
        label, prediction = label_prediction
        test = float((label == prediction).mean())
        wrong = np.flatnonzero(label != prediction)
        np.savez_compressed(
            folder / "predictions.npz",
            label=label,
            prediction=prediction,
            loss=np.where(label == prediction, 0.1, 3.0).astype(np.float32),
            mistake_index=wrong,
            mistake_image=np.full((len(wrong), 28, 28, 1), 200, np.uint8),
        )
    result = {
        "test_accuracy": test, "test_loss": 0.05, "validation_accuracy": validation,
        "validation_loss": 0.06, "steps": 20, "epochs": 2.0, "train_seconds": 2.0,
        "images_per_s": 640.0, "num_replicas": 1, "num_workers": 1, "parameters": 1234567,
        "data": "5f3a" * 8, "stopped": "completed", "config": {**FLAGS, **flags},
        "versions": {"mnist_dist": "0.1.0"}, "resources": {"hostname": "n1"}, **dict(changes),
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    lines(folder / "metrics.jsonl", [
        {"step": 10, "epoch": 1, "split": "train", "loss": 2.0, "accuracy": 0.5, "lr": 0.01},
        {"step": 10, "epoch": 1, "split": "validation", "loss": 1.0, "accuracy": 0.7},
        {"step": 10, "epoch": 1, "split": "test", "loss": 1.1, "accuracy": 0.6},
        {"step": 15, "epoch": 2, "split": "train", "loss": 1.0, "accuracy": 0.9, "lr": 0.02},
    ])  # fmt: skip
    lines(folder / "times.jsonl", [{"step": 10, "seconds": 2.0}, {"step": 20, "seconds": 3.0}])
    return folder


def lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
