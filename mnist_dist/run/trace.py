"""A trace of some steps for TensorBoard's profiler: --profile=STEP:COUNT."""

import tensorflow as tf

from mnist_dist.errors import RunError


class Trace:
    """Profiles the devices during some steps; without a folder or steps it does nothing.

    Attributes:
        steps: the global steps to profile, counted from 0.
    """

    def __init__(self, folder: str, steps: range) -> None:
        self.steps = steps
        self._folder = folder
        self._running = False

    def at(self, step: int) -> None:
        """Starts or stops the trace if it is due; call it between blocks.

        Args:
            step: global steps done.
        """
        if self._running and step >= self.steps.stop:
            self.close()
        if self._folder and not self._running and self.steps and step == self.steps.start:
            tf.profiler.experimental.start(self._folder)
            self._running = True

    def close(self) -> None:
        """Stops the trace if it is running, and writes it.

        Raises:
            RunError: the disk is full or gone.
        """
        if not self._running:
            return
        self._running = False
        try:
            tf.profiler.experimental.stop()
        except tf.errors.OpError as error:
            reason = " ".join(str(error).split())
            raise RunError(f"could not write the trace under {self._folder}: {reason}") from error
