"""A worker's introduction, and the check that it fits worker 0."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mnist_dist.cluster import address
from mnist_dist.errors import UsageError, shorten

PROTOCOL = "mnist_dist-4"


class Handshake(NamedTuple):
    """The first message of a worker.

    Attributes:
        rank: the worker's number.
        host: its host's name.
        pid: its process.
        address: where the others' TensorFlow reaches it, host:port.
        devices: how many it has; 0 if that isn't known yet.
        topology: digest of the addresses that it was started with, by `digest`.
        fingerprints: kind -> name -> value, the same on all workers.
    """

    rank: int
    host: str
    pid: int
    address: str
    devices: int
    topology: str
    fingerprints: Mapping[str, Mapping[str, str]]

    @property
    def name(self) -> str:
        """The worker's name for messages."""
        return f"worker {self.rank} (host {self.host})"

    def message(self, token: str) -> dict[str, Any]:
        """Returns the message that is sent."""
        return {"protocol": PROTOCOL, "token": token, **self._asdict()}


def digest(addresses: Sequence[str]) -> str:
    """Returns a digest of a list of addresses."""
    return hashlib.sha256(json.dumps(list(addresses)).encode()).hexdigest()


def read(message: Mapping[str, Any]) -> Handshake:
    """Reads a handshake that came over the network.

    Raises:
        ValueError: a field is missing or has a wrong type.
    """
    for name in ("rank", "pid", "devices"):
        if type(message.get(name)) is not int or message[name] < 0:
            raise ValueError(f"a handshake whose {name} isn't a number")
    for name in ("host", "address", "topology"):
        if not isinstance(message.get(name), str) or len(message[name]) > address.LONGEST:
            raise ValueError(f"a handshake whose {name} isn't a short text")
    address.split(message["address"])
    kinds = message.get("fingerprints")
    if not isinstance(kinds, dict) or not all(map(_is_fingerprint, kinds.values())):
        raise ValueError("a handshake whose fingerprints aren't names and values")
    return Handshake(**{name: message[name] for name in Handshake._fields})


def _is_fingerprint(values: Any) -> bool:
    return isinstance(values, dict) and all(isinstance(value, str) for value in values.values())


def compare(
    admitted: Mapping[int, Handshake], newcomer: Handshake, num_workers: int
) -> UsageError | None:
    """Returns what is wrong with a newcomer.

    Args:
        admitted: the workers so far, by rank. The newcomer must be equal to worker 0.
        newcomer: another worker.
        num_workers: of the run.
    """
    chief, rank = admitted[0], newcomer.rank
    if rank in admitted:
        other = admitted[rank]
        return UsageError(
            f"two workers have index {rank}: process {other.pid} on host {other.host} and "
            f"process {newcomer.pid} on host {newcomer.host}; give each its own"
        )
    if rank >= num_workers:
        return UsageError(f"{newcomer.name}: the index is outside the {num_workers} workers")
    if newcomer.devices != chief.devices:
        return UsageError(
            f"{newcomer.name} has {newcomer.devices} device(s), worker 0 {chief.devices}; "
            "give each worker the same number, with --gpus or the scheduler"
        )
    if newcomer.fingerprints == chief.fingerprints:
        return None
    for kind in {**chief.fingerprints, **newcomer.fingerprints}:  # in worker 0's order
        values, others = chief.fingerprints.get(kind, {}), newcomer.fingerprints.get(kind, {})
        for key in sorted({*values, *others}):
            if values.get(key) != others.get(key):
                flag = "--" if kind == "flags" else ""
                return UsageError(
                    f"{newcomer.name} has {flag}{key}={shorten(str(others.get(key)))}, "
                    f"{chief.name} {flag}{key}={shorten(str(values.get(key)))}; "
                    f"start all with the same {kind}"
                )
    return None
