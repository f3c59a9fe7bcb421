"""What this program does on a GPU, and whether it is right there: one table, beside PyTorch.

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
BLOCK_STEPS = 50
# (precision, channels_first, global batch)
VARIANTS = [
    *[("float32", True, batch) for batch in (64, 256, 1024)],
    *[("float32", False, batch) for batch in (64, 256, 1024)],
    *[("tf32", True, batch) for batch in (64, 1024)],
    *[("mixed_bfloat16", False, batch) for batch in (64, 1024)],
    *[("mixed_bfloat16", True, batch) for batch in (64, 1024)],
]
QUICK = [("float32", False, 64)]


def say(*words: Any) -> None:
    """A line, at once."""
    print(*words, flush=True)


# Children: a process each, since TensorFlow and PyTorch don't share a card's memory well.


def child_steps(nondeterministic: bool, cpu: bool) -> None:
    """Prints ms a step of each variant."""
    import numpy as np
    import tensorflow as tf

    from mnist_dist import parts
    from mnist_dist.config import Config
    from mnist_dist.data import sources
    from mnist_dist.data.pipeline import Trainset
    from mnist_dist.devices import resources, strategy, visible
    from mnist_dist.devices.placement import Placement
    from mnist_dist.training import state
    from mnist_dist.training.steps import Steps

    first = Config(no_gpu=cpu, nondeterministic=nondeterministic)
    names = visible.local_devices(parts.wanted(first), 1)
    built = strategy.build(parts.wanted(first), names, (), 0, resources.cores())
    data = sources.load(first.data_dir, "", first.validation_size)
    variants = QUICK if cpu else VARIANTS[:3] if nondeterministic else VARIANTS
    placed: dict[int, Any] = {}
    steps_of_block = 2 if cpu else BLOCK_STEPS
    for precision, channels_first, batch in variants:
        config = Config(no_gpu=cpu, nondeterministic=nondeterministic, batch_size=batch)
        if batch not in placed:
            trainset = Trainset(data.train, parts.order(config, data), 1, 1, steps_of_block)
            placement = Placement(built.strategy, names, 0)
            placed[batch] = parts.blocks(config, trainset, placement, built.kind)(
                range(steps_of_block)
            )
        how = parts.arithmetic(config, built, precision)._replace(channels_first=channels_first)
        started = time.perf_counter()
        try:
            trained = state.build(
                built.strategy, parts.architecture(config, data, how), parts.rule(config)
            )
            steps = Steps(built.strategy, trained, parts.settings(config))
            rates = tf.constant(np.full(steps_of_block, 0.01), steps.dtype)
            told = tf.constant(0.0, steps.dtype)

            def call(steps: Steps = steps, block: Any = placed[batch], args: Any = (rates, told)):
                before = time.perf_counter()
                records = steps.train(block, args[0], tf.constant(steps_of_block), args[1]).numpy()
                return 1e3 * (time.perf_counter() - before) / steps_of_block, float(records[-1, 0])

            call()
            compiled_s = time.perf_counter() - started
            taken = [call() for _ in range(4)]
        except tf.errors.OpError as error:
            say(f"| {batch} | {precision} | failed: {' '.join(error.message.split())[:200]} |")
            continue
        kernels = "nondeterministic" if nondeterministic else "deterministic"
        layout = "NCHW" if channels_first else "NHWC"
        say(
            f"| {batch} | {precision} {layout} | {kernels} "
            f"| {min(ms for ms, _ in taken):.3f} | {sorted(ms for ms, _ in taken)[2]:.3f} "
            f"| {compiled_s:.1f} s to start, loss {taken[-1][1]:.6f} |"
        )


def child_kernels(cpu: bool) -> None:
    """Prints the kernels that one block's steps spend their time in, as the profiler saw them."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        flags = ["--max_steps=120", "--steps_per_loop=20", "--profile=60:20", "--log_interval=0"]
        flags += [f"--checkpoint_dir={folder}/ck", f"--output_dir={folder}/out"]
        flags += ["--no_gpu", "--conv_filters=2", "--dense_units=8"] if cpu else []
        from mnist_dist import train

        train.main(flags)
        del tf
        found = sorted(Path(folder).rglob("*.xplane.pb"))
        if not found:
            say("no trace was written")
            return
        space = xplane_pb2.XSpace()
        space.ParseFromString(found[0].read_bytes())
        for plane in space.planes:
            if not plane.name.startswith("/device:GPU" if not cpu else "/host:CPU"):
                continue
            totals: dict[str, list[float]] = {}
            for line in plane.lines:
                if not cpu and "Stream" not in line.name:
                    continue
                for event in line.events:
                    name = plane.event_metadata[event.metadata_id].name
                    entry = totals.setdefault(name, [0.0, 0])
                    entry[0] += event.duration_ps / 1e9
                    entry[1] += 1
            whole = sum(ms for ms, _ in totals.values())
            number = sum(count for _, count in totals.values())
            say(f"{plane.name}: {whole / 20:.3f} ms and {number / 20:.0f} kernels a step")
            for name, (ms, count) in sorted(totals.items(), key=lambda item: -item[1][0])[:14]:
                say(f"  {ms / 20:.4f} ms a step, {count / 20:.1f} times: {name[:110]}")


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
        environment = {**os.environ, "PYTHONPATH": _path()}
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
    """A training in a folder of its own, with its files."""

    def __init__(self, folder: Path, timeout_s: float, *flags: str) -> None:
        folders = [f"--checkpoint_dir={folder}/ck", f"--output_dir={folder}/out"]
        super().__init__([*TRAIN, *flags, *folders], timeout_s)
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
    say("\n## One step, ms\n")
    say("| batch | precision | how | best | median | |\n| --- | --- | --- | --- | --- | --- |")
    me, more = [sys.executable, __file__], ["--cpu"] if cpu else []
    Command([*me, "--child=steps", *more], left_s(170), echo=True)
    Command([*me, "--child=steps", "--nondeterministic", *more], left_s(60), echo=True)


def part_torch(left_s: Callable[[float], float], cpu: bool) -> None:
    """PyTorch's rows of the same table."""
    say("\n| batch | precision | how | ms | | |\n| --- | --- | --- | --- | --- | --- |")
    more = ["--cpu"] if cpu else []
    Command([sys.executable, __file__, "--child=torch", *more], left_s(60), echo=True)


def part_kernels(left_s: Callable[[float], float], cpu: bool) -> None:
    """Where a step's time goes."""
    say("\n## Kernels of a step at batch 64\n")
    more = ["--cpu"] if cpu else []
    Command([sys.executable, __file__, "--child=kernels", *more], left_s(60), echo=True)


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
            return Run(folder / name.replace(" ", "_"), left_s(150), *wanted[name], *more)

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
    parser.add_argument("--parts", default="steps,torch,kernels,checks,runs")
    parser.add_argument("--budget_s", type=float, default=600.0)
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--child", default="")
    parser.add_argument("--nondeterministic", action="store_true")
    given = parser.parse_args()
    if given.child == "steps":
        child_steps(given.nondeterministic, given.cpu)
    elif given.child == "torch":
        child_torch(given.cpu)
    elif given.child == "kernels":
        child_kernels(given.cpu)
    else:
        _parent(given.parts.split(","), given.budget_s, given.cpu)


def _parent(parts: list[str], budget_s: float, cpu: bool) -> None:
    started = time.monotonic()

    def left_s(most: float) -> float:
        return min(most, budget_s - (time.monotonic() - started))

    for line in _machine():
        say(line)
    known = {
        **{"steps": part_steps, "torch": part_torch, "kernels": part_kernels},
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
