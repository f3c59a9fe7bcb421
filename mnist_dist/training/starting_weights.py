"""Starts a run from another run's weights (--init_from), by the names of layers and variables."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mnist_dist.errors import RunError, UsageError
from mnist_dist.run import store
from mnist_dist.run.find import find, scored
from mnist_dist.run.store import Saved

if TYPE_CHECKING:
    from mnist_dist.network.own import AnyNetwork
    from mnist_dist.training.state import State

FLAG = "init_from"
IDENTITY = "init_weights"
"""The key in a run's identity for the digest of the other run's weights."""


class StartingWeights(NamedTuple):
    """Those of another run's weights that fit this run's network.

    Attributes:
        digest: SHA-256 of the other run's weights, part of this run's identity; empty if the run
            starts from none.
        taken: name -> array, for the variables that start with the other run's values.
        lines: for the log: what is taken and what isn't.
    """

    digest: str
    taken: dict[str, np.ndarray]
    lines: list[str]

    @property
    def identity(self) -> dict[str, str]:
        """The entry in a run's identity; empty without --init_from."""
        return {IDENTITY: self.digest} if self.digest else {}

    def assign(self, state: "State", say: Callable[[str], None]) -> None:
        """Sets the variables of a new run, on every replica; nothing without --init_from.

        Args:
            state: of the new run.
            say: gets the lines for the log.

        Raises:
            RunError: the run's own checkpoint, found before, isn't there any more.
        """
        if not self.digest:
            return
        if not self.taken:
            raise RunError(
                "--init_from: the checkpoint to resume from has vanished since the start; "
                "start the run again"
            )
        state.assign(self.taken)
        for line in self.lines:
            say(line)


def locate(init_from: str, folder: Path, resume: str) -> Saved | str:
    """Finds the weights that --init_from names. Imports no TensorFlow.

    Args:
        init_from: one of the other run's folders; empty for none.
        folder: this run's --checkpoint_dir.
        resume: --resume.

    Returns:
        The other run's checkpoint; or the digest of its weights if this run resumes and has
        started from that folder. Then the other run isn't read again and may be gone. An empty
        digest if there is no other run.

    Raises:
        UsageError: no run is there, or its checkpoint is damaged.
    """
    if not init_from:
        return ""
    own = None if resume == "never" else store.newest(folder)[0]
    if own is not None:
        known = own.state.get("identity", {}).get(IDENTITY)
        then = own.state.get("origin", {}).get("config", {}).get("init_from")
        if known and then == init_from:
            return str(known)
    try:
        return scored(find(init_from))
    except UsageError as error:
        raise UsageError(f"--init_from: {error}") from error


def read(
    located: Saved | str, network: "AnyNetwork", class_names: Sequence[str]
) -> StartingWeights:
    """Reads the weights and compares them with this run's network.

    A layer starts anew if one of its variables has another shape. So does the last layer, which
    computes the logits, if the other run's classes have other names.

    Args:
        located: what `locate` returned.
        network: this run's network.
        class_names: of this run's data; empty if classes are called by their number.

    Raises:
        UsageError: none of the weights fit.
    """
    if isinstance(located, str):
        return StartingWeights(located, {}, [])
    from mnist_dist.training.weights_digest import digest_of_arrays

    arrays, path = _scored_weights(located), str(located.path)
    anew = {
        name.partition("/")[0]: f"{name} is {list(array.shape)} there and "
        f"{list(network.variables[name].shape)} here"
        for name, array in arrays.items()
        if name in network.variables and array.shape != tuple(network.variables[name].shape)
    }
    names_there = tuple(located.state.get("origin", {}).get("class_names", ()))
    if network.head not in anew and names_there != tuple(class_names):
        anew[network.head] = "its classes have other names there"
    layers = list(dict.fromkeys(name.partition("/")[0] for name in network.variables))
    taken = {
        name: array
        for name, array in arrays.items()
        if name in network.variables and name.partition("/")[0] not in anew
    }
    if not taken:
        reason = "; ".join(anew.values()) or "no layer has the same name"
        raise UsageError(
            f"--init_from: no weights of {path} fit this network ({reason}); give the flags "
            "that give its layers, or another run"
        )
    lines = [f"Starts from the weights of {path}: {_layers(taken)}."]
    missing = [name for name in network.variables if name not in arrays]
    anew |= {
        name.partition("/")[0]: f"{name} isn't there"
        for name in missing
        if name.partition("/")[0] not in anew
    }
    reasons = [f"{name} ({anew[name]})" for name in layers if name in anew]
    if reasons:
        lines.append(f"Starts anew: {', '.join(reasons)}.")
    unused = [name for name in arrays if name not in network.variables]
    if unused:
        lines.append(f"Not in this network: {_layers(unused)}.")
    named = {f"model/{name}": array for name, array in arrays.items()}
    return StartingWeights(digest_of_arrays(named), taken, lines)


def _layers(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(name.partition("/")[0] for name in names))


def _scored_weights(saved: Saved) -> dict[str, np.ndarray]:
    """The network's variables with which the run was scored: the averages with --ema.

    Raises:
        UsageError: the checkpoint has numbers in place of names.
    """
    from mnist_dist.run.checkpoint import arrays

    found = arrays(saved)
    if "optimizer/average000" in found:
        raise UsageError(
            f"--init_from: {saved.path} is of an earlier version, which numbered its variables; "
            "resume that run with this version for a step, or give another"
        )
    own = _below(found, "model/")
    return own | {n: a for n, a in _below(found, "optimizer/average/").items() if n in own}


def _below(arrays: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
