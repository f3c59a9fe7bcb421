"""Writes checkpoints as files: publishing, pruning.

A checkpoint is a folder ckpt-STEP. It is written under a hidden name, synced to the disk, and made
visible by one rename. Its state.json has the checksums of the other files and ends with a digest
of itself, so that this digest covers every bit of every file. `store` reads it.
"""

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mnist_dist.run.atomic import to_disk
from mnist_dist.run.digest import with_digest
from mnist_dist.run.store import (
    FORMAT,
    OLDER,
    STATE_FILE,
    best_step,
    checksum,
    step_of,
    visible,
)


def publish(
    folder: Path, step: int, state: dict[str, Any], write_weights: Callable[[Path], None]
) -> None:
    """Writes a checkpoint. At every moment either the old or the new checkpoint is visible.

    Args:
        folder: --checkpoint_dir; made if it doesn't exist.
        step: global steps done.
        state: everything but the weights, as JSON.
        write_weights: writes the other files into the folder that it is given.

    Raises:
        OSError: the disk is full or gone; the checkpoints that were visible still are.
    """
    target, hidden = folder / f"ckpt-{step}", folder / f".ckpt-{step}-{os.getpid()}"
    try:
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir(parents=True)
        write_weights(hidden)
        sums = {path.name: checksum(path) for path in sorted(hidden.iterdir())}
        sizes = {name: (hidden / name).stat().st_size for name in sums}
        record = {"format": FORMAT, "step": step, "bytes": sizes, "sha256": sums, "state": state}
        (hidden / STATE_FILE).write_bytes(with_digest(record))
        for path in [*hidden.iterdir(), hidden]:
            to_disk(path)
        if target.exists():  # by a resume that ended at the step where it began
            older = target.with_name(target.name + OLDER)
            if older.exists():
                _hide(older)
            target.rename(older)
        hidden.rename(target)
        to_disk(folder)
    except Exception:
        shutil.rmtree(hidden, ignore_errors=True)
        raise


def prune(folder: Path, keep: int) -> None:
    """Deletes old checkpoints.

    Args:
        folder: --checkpoint_dir.
        keep: how many of the newest steps stay. Those that a kept one names as its best stay, too.
    """
    paths = visible(folder)
    kept = set(sorted({step_of(path) for path in paths})[-keep:])
    best = {best_step(path) for path in paths if step_of(path) in kept}
    for path in paths:
        replaced = path.suffix == OLDER and path.with_suffix("") in paths
        if replaced or step_of(path) not in kept | best:
            _hide(path)
    clear(folder, f"*{OLDER}-*")


def clear(folder: Path, which: str = "*") -> None:
    """Deletes checkpoints that were being written or deleted when a run was killed.

    Args:
        folder: --checkpoint_dir.
        which: glob pattern of the hidden names, after ".ckpt-".
    """
    for leftover in folder.glob(f".ckpt-{which}"):
        if leftover.is_symlink():  # its target belongs to somebody else
            leftover.unlink(missing_ok=True)
        shutil.rmtree(leftover, ignore_errors=True)


def _hide(path: Path) -> None:
    """Hides a checkpoint by one rename, so that no half-deleted one is ever visible."""
    name = f".{path.name.removesuffix(OLDER)}{OLDER}-{secrets.token_hex(4)}"
    path.rename(path.with_name(name))
