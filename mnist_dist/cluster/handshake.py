"""How a worker introduces itself, and whether it fits the others."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from mnist_dist.cluster import address
from mnist_dist.errors import UsageError, shorten

PROTOCOL = "mnist_dist-3"


class Handshake(NamedTuple):
    """What a worker says first.

    Attributes:
        rank: its number.
        host: its host's name.
        pid: its process.
        address: where the others' TensorFlow reaches it, host:port.
        devices: how many it has.
        fingerprints: kind -> name -> value, the same on all workers.
    """

    rank: int
    host: str
    pid: int
    address: str
    devices: int
    fingerprints: Mapping[str, Mapping[str, str]]

    @property
    def name(self) -> str:
        """For messages."""
        return f"worker {self.rank} (host {self.host})"

    def words(self, token: str) -> dict[str, Any]:
        """As it is sent."""
        return {"protocol": PROTOCOL, "token": token, **self._asdict()}


def read(word: Mapping[str, Any]) -> Handshake:
    """A hello that came over the network.

    Raises:
        ValueError: a field that is missing or isn't what it has to be.
    """
    for name, kind in (("rank", int), ("pid", int), ("devices", int)):
        if type(word.get(name)) is not kind or word[name] < 0:
            raise ValueError(f"a hello whose {name} isn't a number")
    for name in ("host", "address"):
        if not isinstance(word.get(name), str) or len(word[name]) > address.LONGEST:
            raise ValueError(f"a hello whose {name} isn't a name")
    address.split(word["address"])
    kinds = word.get("fingerprints")
    if not isinstance(kinds, dict) or not all(map(_is_fingerprint, kinds.values())):
        raise ValueError("a hello whose fingerprints aren't names and values")
    return Handshake(**{name: word[name] for name in Handshake._fields})


def _is_fingerprint(values: Any) -> bool:
    return isinstance(values, dict) and all(isinstance(value, str) for value in values.values())


def compare(
    hellos: Mapping[int, Handshake], theirs: Handshake, num_workers: int
) -> UsageError | None:
    """What is wrong with a worker that has come after others, of which worker 0 is the measure."""
    mine, rank = hellos[0], theirs.rank
    if rank in hellos:
        other = hellos[rank]
        return UsageError(
            f"two workers have index {rank}: process {other.pid} on host {other.host} and "
            f"process {theirs.pid} on host {theirs.host}; give each its own"
        )
    if not 0 <= rank < num_workers:
        return UsageError(f"{theirs.name}: the index is outside the {num_workers} workers")
    if theirs.devices != mine.devices:
        return UsageError(
            f"{theirs.name} has {theirs.devices} device(s), worker 0 {mine.devices}; "
            "give each worker the same number, with --gpus or the scheduler"
        )
    for kind, values in mine.fingerprints.items():
        there = theirs.fingerprints.get(kind, {})
        for key in sorted({*values, *there}):
            if values.get(key) != there.get(key):
                flag = "--" if kind == "flags" else ""
                return UsageError(
                    f"{theirs.name} has {flag}{key}={shorten(str(there.get(key)))}, {mine.name} "
                    f"{flag}{key}={shorten(str(values.get(key)))}; start all with the same {kind}"
                )
    return None
