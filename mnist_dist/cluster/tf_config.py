"""The workers that TF_CONFIG names, TensorFlow's own variable."""

import json
from typing import Any

from mnist_dist import bounded
from mnist_dist.cluster.address import split
from mnist_dist.cluster.hostlist import MOST_HOSTS
from mnist_dist.errors import UsageError, shorten

FORM = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'


def parse(text: str) -> tuple[tuple[str, ...], int]:
    """Reads the cluster and this process's task.

    Returns:
        The address of each worker by rank, host:port, and this process's rank. A chief is rank 0.

    Raises:
        UsageError: it is malformed.
    """
    try:
        config = bounded.loads(text)
    except ValueError as error:
        raise _wrong(f"not JSON ({shorten(str(error))})") from error
    if not isinstance(config, dict) or not isinstance(config.get("cluster"), dict):
        raise _wrong("no 'cluster' with lists of addresses")
    cluster, task = config["cluster"], config.get("task")
    if not isinstance(task, dict):
        raise _wrong("no 'task' with type and index")
    unknown = sorted({*cluster, str(task.get("type"))} - {"chief", "worker"})
    if unknown:
        kind = shorten(unknown[0])
        raise _wrong(f"'{kind}' is no kind of task here, allowed are chief and worker")
    workers = _addresses(cluster)
    index, kind = task.get("index"), task["type"]
    size = len(cluster.get(kind, []))
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < size:
        raise _wrong(f"task index {_shown(index)}, but the cluster has {size} of type '{kind}'")
    return workers, index + (len(cluster.get("chief", [])) if kind == "worker" else 0)


def _addresses(cluster: dict[str, Any]) -> tuple[str, ...]:
    """The addresses of a chief, if there is one, and of the workers."""
    for kind, addresses in cluster.items():
        if not isinstance(addresses, list) or not addresses:
            raise _wrong(f"'{kind}' must be a list of addresses, it is {_shown(addresses)}")
        if len(addresses) > MOST_HOSTS:
            raise _wrong(f"'{kind}' has more than {MOST_HOSTS:,} addresses")
    if len(cluster.get("chief", [])) > 1:
        raise _wrong("more than one chief")
    workers = cluster.get("chief", []) + cluster.get("worker", [])
    seen = set()
    for address in workers:
        try:
            here = split(address if isinstance(address, str) else "")
        except ValueError as error:
            raise _wrong(f"the address {_shown(address)} {error}") from error
        if here in seen:
            raise _wrong(f"the address {address} stands there twice")
        seen.add(here)
    return tuple(workers)


def _wrong(what: str) -> UsageError:
    return UsageError(f"TF_CONFIG: {what}; it has the form {FORM}")


def _shown(value: Any) -> str:
    """A JSON value in a message."""
    return shorten(json.dumps(value))
