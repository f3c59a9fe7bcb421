"""What a site and a user set for a SLURM job: environment variables, flags of the trainer."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mnist_dist import flags as command_line
from mnist_dist.bounded import whole_number
from mnist_dist.config import Config
from mnist_dist.errors import TextRequested, UsageError, shorten

LEAD_S = 120
"""Of the scripts' `#SBATCH --signal`; SLURM doesn't say whether sbatch was given another."""

MOST_RESTARTS = 1_000_000


class Settings(NamedTuple):
    """What is set in the environment.

    Attributes:
        python: the interpreter of the tasks, with the command in front of it if there is one.
        launcher: the same for the supervisor and its standby.
        srun_args: further options of srun.
        spares: nodes that wait to replace a lost one.
        min_nodes: the job is requeued if fewer are left; 0 for half of those that train.
        max_restarts: in a row without a newer checkpoint.
    """

    python: tuple[str, ...]
    launcher: tuple[str, ...]
    srun_args: tuple[str, ...]
    spares: int
    min_nodes: int
    max_restarts: int

    @classmethod
    def read(cls, environment: Mapping[str, str], nodes: int) -> "Settings":
        """Reads the settings.

        Args:
            environment: of the batch script.
            nodes: of the job.

        Raises:
            UsageError: a number that isn't one or is out of range.
        """

        def number(name: str, default: int, most: int) -> int:
            text = environment.get(name) or str(default)
            found = whole_number(text, most)
            if found is None:
                raise UsageError(f"{name}={shorten(text)}: give a number from 0 to {most}")
            return found

        spares = number("MNIST_DIST_SPARES", 0, nodes - 1)
        python = environment.get("MNIST_DIST_PYTHON") or "python"
        return cls(
            python=tuple(python.split()),
            launcher=tuple((environment.get("MNIST_DIST_LAUNCHER") or python).split()),
            srun_args=tuple(environment.get("MNIST_DIST_SRUN_ARGS", "").split()),
            spares=spares,
            min_nodes=number("MNIST_DIST_MIN_NODES", 0, nodes - spares),
            max_restarts=number("MAX_RESTARTS", 3, MOST_RESTARTS),
        )


class Run(NamedTuple):
    """The trainer's flags.

    Attributes:
        flags: all of them, the script's own first, so that a user's win.
        config: what they say; None if the trainer will refuse them.
    """

    flags: tuple[str, ...]
    config: Config | None

    @classmethod
    def read(cls, folder: Path, given: Sequence[str]) -> "Run":
        """Adds the script's own flags to a user's.

        Args:
            folder: of the run.
            given: the user's flags.
        """
        own = [f"--run_dir={folder}", "--log_every_s=30", f"--stop_lead_s={LEAD_S}"]
        if (folder / "output").is_dir():  # begun by an older version
            own.insert(0, f"--output_dir={folder}/output")
        return cls.of((*own, *given))

    @classmethod
    def of(cls, flags: Sequence[str]) -> "Run":
        """Parses all flags."""
        try:
            return cls(tuple(flags), command_line.parse(flags))
        except (UsageError, TextRequested):  # the trainer says so better
            return cls(tuple(flags), None)

    @property
    def shards(self) -> int:
        """--shards; 0 for none."""
        return self.config.shards if self.config else 0

    @property
    def lead_s(self) -> float:
        """Seconds between SLURM's signal and the time limit, as far as it is known."""
        return (self.config.stop_lead_s if self.config else 0.0) or LEAD_S

    @property
    def peer_timeout_s(self) -> float:
        """Seconds without a message after which a worker counts as lost."""
        return self.config.peer_timeout if self.config else 0.0

    def replicas(self, gpus: int) -> int:
        """The replicas of each worker, before TensorFlow has looked for its devices.

        Args:
            gpus: that SLURM gives each task.
        """
        if self.config is None or self.config.strategy == "one":
            return 1
        return max(self.config.virtual_devices, 0 if self.config.no_gpu else gpus, 1)


def quoted(words: Sequence[str]) -> str:
    """Words, quoted for a shell."""
    return " ".join(map(shlex.quote, words))
