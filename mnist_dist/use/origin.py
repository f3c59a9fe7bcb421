"""What a checkpoint holds about its run: the flags and the network's shape.

No TensorFlow, so that what can't be used is refused at once.
"""

import dataclasses
from typing import Any, NamedTuple

from mnist_dist.config import Config
from mnist_dist.devices.startup_messages import one_dnn_has
from mnist_dist.errors import UsageError
from mnist_dist.network.architecture import Architecture
from mnist_dist.network.own_file import OwnArchitecture
from mnist_dist.run.find import Found, scored
from mnist_dist.run.store import Saved


class Origin(NamedTuple):
    """A checkpoint and its run.

    Attributes:
        saved: the checkpoint.
        config: the run's flags.
        network: the network's shape, as the run built it.
        replicas: number of replicas that trained it.
        data: fingerprint of its data.
        class_names: a name for each class; empty: classes are called by their number.
    """

    saved: Saved
    config: Config
    network: Architecture | OwnArchitecture
    replicas: int
    data: str
    class_names: tuple[str, ...] = ()

    def class_name(self, number: int) -> str:
        """What class `number` is called."""
        return self.class_names[number] if self.class_names else str(number)

    @property
    def one_dnn(self) -> bool:
        """Whether it computed with oneDNN's kernels; settled before TensorFlow is imported."""
        return one_dnn_has(self.network.precision)


def read(found: Found) -> Origin:
    """The checkpoint that the reported scores belong to: the best with --patience, else the newest.

    Raises:
        UsageError: it is damaged, of another version, or of another run than the result.json that
            named it.
    """
    saved = scored(found)
    identity, origin = saved.state["identity"], saved.state.get("origin")
    if origin is None:
        raise UsageError(
            f"{saved.path} is of an earlier version, which didn't save the network's shape; "
            "resume the run with this version for an epoch, or train anew"
        )
    _same_run(found, identity)
    network = {name: _tuple(value) for name, value in origin["network"].items()}
    return Origin(
        saved,
        _config(origin["config"], saved),
        OwnArchitecture(**network) if "text" in network else Architecture(**network),
        origin["replicas"],
        identity["data"],
        tuple(origin.get("class_names", ())),  # missing in older checkpoints
    )


def _same_run(found: Found, identity: dict[str, Any]) -> None:
    """Raises UsageError where a later run has put its checkpoints in the folder."""
    result = found.result
    if not result:
        return
    then = {**result["config"], "data": result.get("data"), "precision": result.get("precision")}
    names = [name for name, value in identity.items() if name in then and then[name] != value]
    if names:
        raise UsageError(
            f"{found.folder} holds another run now ({names[0]}: {then[names[0]]} in "
            f"result.json, {identity[names[0]]} there); give the folder of this run's checkpoints"
        )


def _config(flags: dict[str, Any], saved: Saved) -> Config:
    unknown = sorted(set(flags) - {field.name for field in dataclasses.fields(Config)})
    if unknown:
        raise UsageError(
            f"{saved.path} was saved with --{unknown[0]}, which this version doesn't have; "
            "use the version that wrote it"
        )
    return Config(**{name: _tuple(value) for name, value in flags.items()})


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
