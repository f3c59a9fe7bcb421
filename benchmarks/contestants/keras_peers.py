"""The same network in plain Keras: by `fit` at its best, and by the notebook's eager loop."""

import sys
from collections.abc import Callable
from typing import Any

from benchmarks.contestants.turns import Arrays, Turns, first
from benchmarks.job import CHECKED_STEPS, Job
from mnist_dist.devices.startup_messages import without_startup_messages

with without_startup_messages():
    import keras
    import tensorflow as tf

EVALUATED_TOGETHER = 1000


def network(job: Job, arrays: Arrays) -> keras.Model:
    """With the common weights; bytes in, logits out."""
    keras.config.set_dtype_policy(job.precision)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input([28, 28, 1], dtype="uint8"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 5, activation="relu", name="conv1"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 5, activation="relu", name="conv2"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(1024, activation="relu", name="dense1"),
            layers.Dropout(job.dropout, seed=0),
            layers.Dense(10, dtype="float32", name="logits"),
        ]
    )
    for name in ("conv1", "conv2", "dense1", "logits"):
        values = [arrays.weights[f"{name}/{part}"] for part in ("kernel", "bias")]
        model.get_layer(name).set_weights(values)
    return model


class Turnstile(keras.callbacks.Callback):
    """Holds `fit` after each call of its graph, until the next turn."""

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self._turns = turns

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """A turn is over."""
        if not self._turns.over():
            sys.exit()


def fit(job: Job, arrays: Arrays, turns: Turns) -> None:
    """`compile` and `fit`, with a turn's steps in one call of the graph."""
    model = network(job, arrays)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rule = keras.optimizers.SGD(0.01, momentum=0.5)
    together = 1 if job.check or job.evaluate else job.steps
    model.compile(rule, loss, metrics=["accuracy"], steps_per_execution=together)
    if job.evaluate:
        held = arrays.test.images, arrays.test.labels
        evaluate = lambda: model.evaluate(*held, EVALUATED_TOGETHER, verbose=0)  # noqa: E731
        serve(job, turns, evaluate)
        return
    images, labels = arrays.permuted()
    if not job.check:
        model.fit(images, labels, job.batch, 1000, 0, [Turnstile(turns)], shuffle=False)
        return
    losses = []
    for step in range(CHECKED_STEPS):
        ids = slice(step * job.batch, (step + 1) * job.batch)
        model.reset_metrics()
        losses.append(model.train_on_batch(images[ids], labels[ids])[0])
    turns.say(losses=first(losses))


def eager(job: Job, arrays: Arrays, turns: Turns) -> None:
    """The notebook's loop: a tape, an optimizer, a tf.data set, and no graph."""
    model = network(job, arrays)
    rule = keras.optimizers.SGD(0.01, momentum=0.5)
    batches = iter(tf.data.Dataset.from_tensor_slices(arrays.permuted()).repeat().batch(job.batch))

    def step() -> tf.Tensor:
        images, labels = next(batches)
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses)
        rule.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    count = CHECKED_STEPS if job.check else job.steps
    serve(job, turns, lambda: [step() for _ in range(count)])


def serve(job: Job, turns: Turns, turn: Callable[[], Any]) -> None:
    """A turn to compile or to be compared, and those that are asked for."""
    losses = turn()
    if job.check:
        turns.say(losses=first(losses))
        return
    while turns.over():
        turn()


def main(job: Job, turns: Turns) -> None:
    """Sets the threads, which a start of TensorFlow takes once, and computes."""
    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(job.threads)
    tf.config.threading.set_inter_op_parallelism_threads(job.threads)
    how = eager if job.options.get("eager") else fit
    how(job, Arrays(job), turns)


if __name__ == "__main__":
    main(Job.from_json(sys.argv[1]), Turns())
