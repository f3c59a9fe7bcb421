"""What TensorBoard shows of a run, by TensorFlow's own summary writer.

Each split is a run of TensorBoard's, and a quantity has the same name in all of them: so the
curves of a quantity stand in one chart. The folder itself has the flags (HParams) and the graph.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mnist_dist.run import rewind

SUMMARY_STEPS = 10
FOLDERS = {"train": "train", "validation": "validation", "test": "eval"}
"""Split -> folder; of training and test the notebook's names."""


class TensorBoard:
    """Event files in one folder and in one below it for each split."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, tf.summary.SummaryWriter] = {}

    def there(self) -> list[Path]:
        """Files and folders of an earlier run."""
        folders = [self._folder / name for name in FOLDERS.values()]
        return [path for path in folders if path.exists()] + sorted(self._folder.glob("events.*"))

    def resume(self, step: int, epoch_ended: bool) -> None:
        """Takes back what was written of steps after `step`: they will be done again.

        An evaluation at `step` itself stays only where an epoch ended.
        """
        for split, name in FOLDERS.items():
            last = step if epoch_ended or split == "train" else step - 1
            for path in sorted((self._folder / name).glob("events.*")):
                rewind.events(path, last)

    def head(self, flags: Mapping[str, Any], graph: tf.Graph) -> None:
        """What there is once in a run: the flags that decide its numbers, and the network."""
        from tensorboard.plugins.hparams import api  # takes a second

        plain = {
            name: value if isinstance(value, (bool, int, float)) else str(value)
            for name, value in flags.items()
        }
        with self._writer("").as_default(step=0):
            api.hparams(plain)
            tf.summary.graph(graph)

    def scalars(self, split: str, step: int, values: Mapping[str, float]) -> None:
        """Numbers of a split after `step` global steps."""
        with self._writer(FOLDERS[split]).as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def image(self, split: str, step: int, name: str, pixels: np.ndarray) -> None:
        """A picture, uint8 [height, width, 3]."""
        with self._writer(FOLDERS[split]).as_default(step=step):
            tf.summary.image(name, pixels[np.newaxis])

    def flush(self) -> None:
        """Brings what was written to the files."""
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """Closes all files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _writer(self, name: str) -> tf.summary.SummaryWriter:
        if name not in self._writers:
            self._writers[name] = tf.summary.create_file_writer(str(self._folder / name))
        return self._writers[name]
