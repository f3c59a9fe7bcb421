"""Times and checks this program on a GPU, beside PyTorch; prints one table.

    python benchmarks/gpu.py [--parts=steps,torch,runs,checks] [--budget_s=600] [--cpu]

Lines come as they are measured, and no part can hang. `steps` and `torch` time one training step
of the notebook's network, `runs` whole commands, `checks` says what is equal to what: those share
the card, four at a time. --cpu tries the script itself out, on short runs.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TRAIN = [sys.executable, "-m", "mnist_dist.train"]


def say(*words: Any) -> None:
    """A line, at once."""
    print(*words, flush=True)


# Children: a process each, since TensorFlow and PyTorch don't share a card's memory well.


def child_torch(cpu: bool) -> None:
    """Prints PyTorch's ms a step, eager and replayed as a CUDA graph: the practical limit."""
    import torch
    from torch import nn

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    device = "cpu" if cpu else "cuda"
    images = torch.randint(0, 255, (60000, 1, 28, 28), dtype=torch.uint8, device=device)
    labels = torch.randint(0, 10, (60000,), device=device)
    cases = [(64, "float32"), (256, "float32"), (1024, "float32"), (1024, "bfloat16")]
    for batch, precision in cases[:1] if cpu else cases:
        net = nn.Sequential(
            *(nn.Conv2d(1, 32, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            *(nn.Linear(1024, 1024), nn.ReLU(), nn.Dropout(0.5), nn.Linear(1024, 10)),
        ).to(device)
        rule = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.5)
        ids = torch.randint(0, 60000, (batch,), device=device)

        def step(net: Any = net, rule: Any = rule, ids: Any = ids, precision: str = precision):
            rule.zero_grad(set_to_none=True)
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
                loss = nn.functional.cross_entropy(net(images[ids].float() / 255), labels[ids])
            loss.backward()
            rule.step()

        def ms(run: Callable[[], Any], times: int) -> float:
            best = []
            for _ in range(3):
                if not cpu:
                    torch.cuda.synchronize()
                before = time.perf_counter()
                for _ in range(times):
                    run()
                if not cpu:
                    torch.cuda.synchronize()
                best.append(1e3 * (time.perf_counter() - before) / times)
            return min(best)

        if cpu:
            say(f"| {batch} | {precision} | PyTorch eager | {ms(step, 2):.3f} | | |")
            continue
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(5):
                step()
        torch.cuda.current_stream().wait_stream(side)
        eager = ms(step, 200)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        replay = ms(graph.replay, 200)
        say(f"| {batch} | {precision} | PyTorch eager | {eager:.3f} | | |")
        say(f"| {batch} | {precision} | PyTorch, CUDA graph | {replay:.3f} | | |")


# The parent.


class Command:
    """A finished command: exit code, both outputs, seconds from its start to its end."""

    def __init__(self, words: list[str], timeout_s: float, echo: bool = False) -> None:
        started = time.monotonic()
        environment = {**os.environ, "PYTHONPATH": _path(), "MNIST_DIST_PYTHON": sys.executable}
        self.process = subprocess.Popen(
            words,
            cwd=ROOT,
            env=environment,
            stdout=None if echo else subprocess.PIPE,
            stderr=None if echo else subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            self.out, self.err = self.process.communicate(timeout=max(timeout_s, 1.0))
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.out, self.err = self.process.communicate()
            say(f"(out of time after {timeout_s:.0f} s: {' '.join(words[1:])[:150]})")
        self.code = self.process.returncode
        self.seconds = time.monotonic() - started


def _path() -> str:
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


class Run(Command):
    """A training in a folder of its own, with its files; on one worker or on several."""

    def __init__(self, folder: Path, timeout_s: float, *flags: str, workers: int = 1) -> None:
        folders = [f"--checkpoint_dir={folder}/ck", f"--output_dir={folder}/out"]
        several = ["bash", str(ROOT / "launch/local.sh"), "-n", str(workers), "--"]
        super().__init__([*(TRAIN if workers == 1 else several), *flags, *folders], timeout_s)
        self.folder = folder

    @property
    def result(self) -> dict[str, Any]:
        return json.loads((self.folder / "out/result.json").read_text())

    @property
    def metrics(self) -> bytes:
        return (self.folder / "out/metrics.jsonl").read_bytes()

    @property
    def losses(self) -> list[float]:
        rows = map(json.loads, self.metrics.splitlines())
        return [row["loss"] for row in rows if row["split"] == "train"]

    def why(self) -> str:
        return f"exit {self.code}: {' '.join((self.err or '').split())[-300:]}"


def part_steps(left_s: Callable[[float], float], cpu: bool) -> None:
    """The table of steps."""
    say("\n## One step\n")
    words = [sys.executable, str(ROOT / "benchmarks/gpu_steps.py"), "--kernels"]
    Command([*words, *(["--cpu"] if cpu else [])], left_s(120), echo=True)


def part_torch(left_s: Callable[[float], float], cpu: bool) -> None:
    """PyTorch's rows of the same table."""
    say("\n| batch | precision | how | ms | | |\n| --- | --- | --- | --- | --- | --- |")
    more = ["--cpu"] if cpu else []
    Command([sys.executable, __file__, "--child=torch", *more], left_s(60), echo=True)


def part_runs(left_s: Callable[[float], float], cpu: bool) -> None:
    """Whole commands, one after another."""
    say("\n## Whole commands\n")
    say("| flags | s from start to end | s of training | s an epoch | test accuracy | |")
    say("| --- | --- | --- | --- | --- | --- |")
    short = ["--no_gpu", "--max_steps=3"] if cpu else []
    cases = [
        ["--flagfile=configs/notebook.cfg"],
        ["--flagfile=configs/fast.cfg"],
        ["--flagfile=configs/sweeps/recipe.cfg"],
        ["--batch_size=1024", "--epochs=4"],
        ["--flagfile=configs/accurate.cfg"],
        ["--flagfile=configs/notebook.cfg", "--nondeterministic", "--epochs=3"],
    ]
    with tempfile.TemporaryDirectory() as folder:
        for number, flags in enumerate(cases[:2] if cpu else cases):
            run = Run(Path(folder) / str(number), left_s(90), *flags, *short)
            if run.code:
                say(f"| {' '.join(flags)} | {run.why()} |")
                continue
            epochs = re.findall(r"Train time for epoch .*: ([\d.]+)", run.out)
            took = " ".join(f"{float(epoch):.2f}" for epoch in epochs)
            auto = re.findall(r"^--precision=auto: .*", run.out, re.M)
            r = run.result
            say(
                f"| {' '.join(flags)} | {run.seconds:.1f} | {r['train_seconds']:.2f} | {took} "
                f"| {100 * r['test_accuracy']:.2f} % | {' '.join(auto)} |"
            )


def part_checks(left_s: Callable[[float], float], cpu: bool) -> None:
    """What is equal to what; each line says yes or NO."""
    say("\n## Checks\n")
    short = ("--log_interval=1", "--max_steps=300")
    few = ("--log_interval=1", "--max_steps=20")
    small = ("--conv_filters=8,16", "--dense_units=64")
    if cpu:
        short, few = (
            ("--log_interval=1", "--max_steps=6", *small),
            (*few[:1], "--max_steps=3", *small),
        )
    gpu = ("--no_gpu",) if cpu else ()
    stop_at = "--max_steps=4" if cpu else "--max_steps=137"
    everything = (
        *("--batch_norm", "--residual", "--kernel_size=3", "--optimizer=adam", "--ema=0.9"),
        *("--clip_norm=1", "--label_smoothing=0.1", "--weight_decay=0.01", "--batch_size=50"),
        *("--shift_px=2", "--rotate_deg=10", "--zoom=0.1", "--schedule=onecycle"),
    )
    logical = ("--virtual_devices=2", "--gpu_memory_mib=6144")
    shared = () if cpu else ("--gpus=0,", "--gpu_memory_mib=4096", "--collective=ring")
    muon = ("--optimizer=muon", "--accumulate_steps=3", "--precision=mixed_float16")
    if cpu:
        muon = muon[:2]
    wanted: dict[str, tuple[str, ...]] = {
        "once": (*short, *gpu),
        "again": (*short, *gpu),
        "stopped": (*short[:1], *short[2:], stop_at, *gpu),
        "everything": (*short, *everything, *gpu),
        "everything again": (*short, *everything, *gpu),
        "muon": (*short, *muon, *gpu),
        "muon again": (*short, *muon, *gpu),
        "float32 on the CPU": (*few, "--no_gpu"),
        "float32": (*few, *gpu),
        "float64 on the CPU": (*few, "--no_gpu", "--precision=float64", *everything),
        "float64": (*few, *gpu, "--precision=float64", *everything),
        "nondeterministic": (*short, *gpu, "--nondeterministic"),
        "2 logical": (*few, *gpu, "--virtual_devices=2", "--gpu_memory_mib=6144"),
        "4 logical": (*few, *gpu, "--virtual_devices=4", "--gpu_memory_mib=8192"),
        "2 logical, everything": (
            *(*few, *gpu, "--virtual_devices=2", "--gpu_memory_mib=6144", *everything),
            "--precision=float64",
        ),
        "2 logical by XLA": (*few, *gpu, *logical, "--precision=float64", "--xla=on"),
        "2 workers by XLA": (*few, *gpu, *shared, "--precision=float64", "--xla=on"),
        "float64 alone": (*few, *gpu, "--precision=float64", "--xla=off"),
        "4 shards by XLA": (*few, *gpu, "--shards=4", "--xla=on"),
        "4 shards by XLA on 2": (*few, *gpu, *logical, "--shards=4", "--xla=on"),
        "bfloat16": (*short, *gpu, "--precision=mixed_bfloat16"),
        "float16": (*short, *gpu, "--precision=mixed_float16"),
        "tf32": (*few, *gpu, "--precision=tf32"),
        "auto": (*short[:1], *short[2:], stop_at, *gpu, "--precision=auto"),
        "full": (
            *(*few, *gpu, "--gpu_memory_mib=1024", "--batch_size=50000"),
            *("--conv_filters=64,64", "--data_format=channels_last"),
        ),
    }
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(2 if cpu else 5) as pool:
        folder = Path(place)

        def start(name: str, *more: str) -> Run:
            workers = 2 if "2 workers" in name else 1
            place = folder / name.replace(" ", "_")
            return Run(place, left_s(150), *wanted[name], *more, workers=workers)

        waiting = {name: pool.submit(start, name) for name in wanted}
        doctor = pool.submit(
            Command, [sys.executable, "-m", "mnist_dist.doctor", *gpu], left_s(100)
        )
        waiting["stopped"].result()
        waiting["resumed"] = pool.submit(Run, folder / "stopped", left_s(100), *wanted["once"])
        waiting["auto"].result()
        waiting["auto resumed"] = pool.submit(
            Run, folder / "auto", left_s(100), *wanted["once"], "--precision=auto"
        )

        def check(what: str, names: list[str], right: Callable[..., Any]) -> None:
            runs = [waiting[name].result() for name in names]
            failed = [f"{n}: {r.why()}" for n, r in zip(names, runs, strict=True) if r.code]
            if failed:
                say(f"- NO, {what}: {'; '.join(failed)}")
                return
            try:
                found = right(*runs)
            except (OSError, LookupError, ValueError) as error:
                found = f"failed: {error}"
            say(f"- {'yes' if found is True else 'NO' if found is False else found}, {what}")

        def equal(a: Run, b: Run) -> bool:
            name = "weights_sha256"
            return a.metrics == b.metrics and a.result[name] == b.result[name]

        def apart(a: Run, b: Run) -> str:
            pairs = list(zip(a.losses, b.losses, strict=True))
            relative = [abs(x - y) / abs(y) for x, y in pairs]
            same = next(
                (n for n, (x, y) in enumerate(pairs) if f"{x:.6f}" != f"{y:.6f}"), len(pairs)
            )
            return f"relative {max(relative):.1e}, {same} of {len(pairs)} printed losses equal"

        check("two runs of one command: the same bytes and weights", ["once", "again"], equal)
        check("stopped and resumed: the same bytes and weights", ["once", "resumed"], equal)
        check("all flags on, twice", ["everything", "everything again"], equal)
        check("Muon, float16, in 3 micro-batches, twice", ["muon", "muon again"], equal)
        check("float32 against the CPU", ["float32", "float32 on the CPU"], apart)
        check("float64, all flags on, against the CPU", ["float64", "float64 on the CPU"], apart)
        check("2 logical devices against one", ["2 logical", "float32"], apart)
        check("4 logical devices against one", ["4 logical", "float32"], apart)
        check(
            "2 logical devices, float64, all flags on", ["2 logical, everything", "float64"], apart
        )
        for several in ("2 logical", "2 workers"):
            what = f"{several} by XLA, float64, against one without XLA"
            check(what, [f"{several} by XLA", "float64 alone"], apart)
        shards = "4 shards by XLA"
        check("shards by XLA: the same bits on 1 and 2 logical", [shards, f"{shards} on 2"], equal)
        check("nondeterministic against deterministic", ["nondeterministic", "once"], apart)
        check("bfloat16 against float32", ["bfloat16", "once"], apart)
        check("float16 against float32", ["float16", "once"], apart)
        if not cpu:
            check("tf32 against float32", ["tf32", "float32"], apart)
        check(
            "auto is resumed with what it chose",
            ["auto", "auto resumed"],
            lambda a, b: (
                a.result["precision"] == b.result["precision"] and "as the run was" in b.out
            ),
        )
        for name in ("once", "nondeterministic", "2 logical", "auto"):
            head = [line for line in waiting[name].result().out.splitlines()[:12] if line]
            say(f"  head of '{name}': " + "\n    ".join(head[:9]))
        full = waiting["full"].result()
        say(
            f"- a full card: exit {full.code}, {len(full.err.splitlines())} line(s): "
            f"{full.err[-400:]}"
        )
        say(
            f"- the doctor: exit {doctor.result().code}\n{doctor.result().out}{doctor.result().err}"
        )


def main() -> None:
    """Runs the parts, each within what is left of the time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default="steps,torch,checks,runs")
    parser.add_argument("--budget_s", type=float, default=600.0)
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--child", default="")
    given = parser.parse_args()
    if given.child == "torch":
        child_torch(given.cpu)
    else:
        _parent(given.parts.split(","), given.budget_s, given.cpu)


def _parent(parts: list[str], budget_s: float, cpu: bool) -> None:
    started = time.monotonic()

    def left_s(most: float) -> float:
        return min(most, budget_s - (time.monotonic() - started))

    for line in _machine():
        say(line)
    known = {
        **{"steps": part_steps, "torch": part_torch},
        **{"runs": part_runs, "checks": part_checks},
    }
    for name in parts:
        if left_s(budget_s) < 5:
            say(f"\n(no time left for {name})")
            continue
        known[name](left_s, cpu)
        say(f"\n({name} ended {time.monotonic() - started:.0f} s after the start)")


def _machine() -> Iterator[str]:
    yield f"Python {sys.version.split()[0]}, {os.cpu_count()} CPU cores"
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        yield subprocess.run(query, capture_output=True, text=True, timeout=30).stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        yield f"nvidia-smi: {error}"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
