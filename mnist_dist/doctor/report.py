"""The problems among the workers' facts, and the doctor's report as text."""

import collections
from collections.abc import Sequence
from typing import Any

from mnist_dist.config import Config
from mnist_dist.data.order import replica_rows
from mnist_dist.run import text_table

SKEW_S = 2.0
STARTED = {
    "none": "this process alone",
    "tf_config": "TF_CONFIG",
    "slurm": "SLURM",
    "mpi": "MPI",
    "flux": "Flux",
    "rank": "RANK and WORLD_SIZE",
    "kubernetes": "an indexed job of Kubernetes",
}
MEMORY_BYTES = 2 * 2**30  # TensorFlow, the data and the network need about 1.5 GB


def problems(workers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the findings: "bad" (the run would fail) or not, and a "text" with what to do."""
    findings: list[dict[str, Any]] = []

    def find(worker: dict[str, Any], message: str, bad: bool = True) -> None:
        findings.append(_finding(worker, message, bad))

    chief = workers[0]
    for worker in workers:
        for problem in ("device_problem", "data_problem"):
            if worker[problem]:
                find(worker, worker[problem])
        if worker["checkpoint_problem"]:
            advice = "" if worker is chief else "; give a --checkpoint_dir on a shared file system"
            find(worker, worker["checkpoint_problem"] + advice)
        if worker["gpu_problem"]:
            find(worker, worker["gpu_problem"], bad=False)  # --gpus would be refused
        if len(worker["devices"]) != len(chief["devices"]) and not worker["device_problem"]:
            find(
                worker,
                f"{len(worker['devices'])} device(s), worker 0 has {len(chief['devices'])}; give "
                "each the same number, with --gpus or the scheduler",
            )
        for kind in ("versions", "flags"):
            for name, value in worker[kind].items():
                theirs = chief[kind].get(name)
                if value != theirs:
                    what = f"--{name}={value}" if kind == "flags" else f"{name} {value}"
                    cure = "start all with the same flags"
                    if kind == "versions":
                        cure = "let all use one installation, or install the same on each host"
                    find(worker, f"{what}, worker 0 has {theirs}; {cure}")
        other_data = worker["data_fingerprint"] != chief["data_fingerprint"]
        if other_data and not (worker["data_problem"] or chief["data_problem"]):
            find(worker, f"other data ({worker['data']}) than worker 0 ({chief['data']}); copy it")
        if abs(worker["clock_skew_s"]) > SKEW_S:
            skew = f"its clock is {worker['clock_skew_s']:+.1f} s from worker 0's"
            find(worker, f"{skew}; times in logs won't fit, start NTP there", bad=False)
        if worker["memory_free_bytes"] < MEMORY_BYTES:
            free = f"{worker['memory_free_bytes'] / 2**30:.1f} GiB of memory are free"
            find(worker, f"{free}; a worker needs about 2, end what uses it", bad=False)
    return findings


def verdict(well: bool) -> str:
    """Returns the report's last line."""
    would = "Well: a run with these flags would work."
    return would if well else "A run with these flags would not work."


def header(config: Config, chief: dict[str, Any]) -> str:
    """Returns the first lines, which need no TensorFlow."""
    versions = ", ".join(f"{name} {value}" for name, value in chief["versions"].items())
    return "\n".join(
        [
            f"Data: {chief['data'] or 'not readable'}",
            f"Checkpoints: {config.checkpoint_dir}",
            f"Versions of worker 0: {versions}",
        ]
    )


def differing_devices(
    workers: Sequence[dict[str, Any]], burned: Sequence[Sequence[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Returns a finding for each device whose bits differ from those of most devices of its kind.

    Args:
        workers: the workers' facts, by rank.
        burned: the results of `burn_in.devices`, by rank.
    """
    found = [(worker, one) for worker, own in zip(workers, burned, strict=True) for one in own]
    findings = []
    for kind in sorted({one["kind"] for _, one in found}):
        alike = [(worker, one) for worker, one in found if one["kind"] == kind]
        usual = [max(one["digests"], key=one["digests"].get) for _, one in alike]
        (right, votes), *others = collections.Counter(usual).most_common()
        for worker, one in alike:
            rounds = sum(one["digests"].values())
            wrong = rounds - one["digests"].get(right, 0)
            if others and others[0][1] == votes:
                said = f"{rounds} rounds; devices of its kind differ, and none has a majority"
            elif wrong:
                said = f"other bits than most of its kind in {wrong} of {rounds} rounds"
                said += _how_often(wrong, one["digests"], rounds)
            else:
                continue
            message = f"{one['device']}: {said} ({kind}); don't use it until it is tested"
            findings.append(_finding(worker, message))
    return findings


def _how_often(wrong: int, digests: dict[str, int], rounds: int) -> str:
    """How a device errs: always alike, always, or now and then."""
    if wrong < rounds:
        return ": it errs now and then"
    if len(digests) == 1:
        return ", each time the same: it errs always, so repeating on this device alone hides it"
    return f", with {len(digests)} different results: it errs always"


def _finding(worker: dict[str, Any], message: str, bad: bool = True) -> dict[str, Any]:
    name = f"worker {worker['rank']} (host {worker['host']})"
    return {"bad": bad, "rank": worker["rank"], "text": f"{name}: {message}"}


def text(report: dict[str, Any]) -> str:
    """Returns the report without its first lines; lines have about 100 characters at most."""
    workers, config = report["workers"], report["config"]
    rows = [["rank", "host", "on host", "address", "devices", "cores", "memory free/all", "images"]]
    shares = _shares(config, workers)
    for worker, share in zip(workers, shares, strict=True):
        rows.append(
            [
                str(worker["rank"]),
                worker["host"],
                f"{worker['local_rank'] + 1} of {worker['local_size']}",
                worker["address"] or "-",
                ",".join(worker["devices"]) or "none",
                f"{worker['cores']} of {worker['machine_cores']}",
                f"{worker['memory_free_bytes'] / 2**30:.1f}/"
                f"{worker['memory_bytes'] / 2**30:.1f} GiB",
                share,
            ]
        )
    skew_s = max(abs(worker["clock_skew_s"]) for worker in workers)
    lines = [
        f"Workers: {len(workers)} ({STARTED[report['source']]}); images: of a global batch of "
        f"{config['batch_size']}, by replica",
        *text_table.lines(rows),
    ]
    lines += _gpus(workers)
    if len(workers) > 1:
        lines.append(f"Network: every worker reaches every other; clocks are within {skew_s:.2f} s")
    if report["note"]:
        lines.append(report["note"])
    lines += _reduction(report["all_reduce"])
    if report["burn_in"]:
        ones = [one for own in report["burn_in"]["workers"] for one in own]
        rounds = sum(sum(one["digests"].values()) for one in ones)
        lines.append(
            f"Burn-in: {len(ones)} device(s), each by itself for {report['burn_in']['seconds']:g} "
            f"s; {rounds} times the same steps, {len({d for o in ones for d in o['digests']})} "
            "different result(s)"
        )
    lines += [
        f"{'NOT WELL' if finding['bad'] else 'Note'}: {finding['text']}"
        for finding in report["findings"]
    ]
    return "\n".join([*lines, report["verdict"]])


def _gpus(workers: Sequence[dict[str, Any]]) -> list[str]:
    """Returns lines on the workers' GPUs, and the versions that TensorFlow needs for them."""
    lines = []
    for worker in (worker for worker in workers if worker["gpus"]):
        names = ", ".join(
            f"{card['name']} ({(card['memory_bytes'] - card['used_bytes']) / 2**30:.1f} of "
            f"{card['memory_bytes'] / 2**30:.1f} GiB free)"
            for card in worker["gpus"]
        )
        built = worker["gpu_built_for"]
        lines.append(
            f"GPUs of worker {worker['rank']}: {names}; driver {worker['gpu_driver']}, TensorFlow "
            f"was built for CUDA {built['cuda']} and cuDNN {built['cudnn']}"
        )
    return lines


def _shares(config: dict[str, Any], workers: Sequence[dict[str, Any]]) -> list[str]:
    """Returns the number of images of a global batch for each replica of each worker."""
    replicas, shares, first = sum(len(worker["devices"]) for worker in workers), [], 0
    for worker in workers:
        numbers = []
        for replica in range(first, first + len(worker["devices"])):
            arguments = config["batch_size"], config["accumulate_steps"], replica, replicas
            numbers.append(str(replica_rows(*arguments)[:, 1].sum()))
        first += len(numbers)
        shares.append("+".join(numbers) or "0")
    return shares


def _reduction(found: dict[str, Any] | None) -> list[str]:
    if found is None:
        return []
    lines = [f"All-reduce over {found['replicas']} replicas (median):"]
    rows = [["bytes", "ms", "MB/s"]]
    for size, seconds in zip(found["bytes"], found["seconds"], strict=True):
        rows.append([f"{size:,}", f"{1e3 * seconds:.3f}", f"{size / seconds / 1e6:,.1f}"])
    fit = f"{1e3 * found['alpha_s']:.3f} ms + bytes / {found['beta_bytes_per_s'] / 1e6:,.0f} MB/s"
    return [*lines, *text_table.lines(rows), f"  fit: {fit}"]
