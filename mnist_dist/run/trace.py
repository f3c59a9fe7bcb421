"""A trace of some steps for TensorBoard's profiler: --profile=STEP:COUNT."""

import tensorflow as tf


class Trace:
    """Records what the devices do while `steps` are trained; without a folder or steps, nothing.

    Attributes:
        steps: the global steps, counted from 0.
    """

    def __init__(self, folder: str, steps: range) -> None:
        self.steps = steps
        self._folder = folder
        self._running = False

    def at(self, step: int) -> None:
        """Begins or ends the trace if that is due after `step` global steps; between two blocks."""
        if self._running and step >= self.steps.stop:
            self.close()
        if self._folder and not self._running and self.steps and step == self.steps.start:
            tf.profiler.experimental.start(self._folder)
            self._running = True

    def close(self) -> None:
        """Writes what was recorded."""
        if self._running:
            tf.profiler.experimental.stop()
            self._running = False
