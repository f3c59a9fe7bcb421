"""What a step of two workers on this machine costs, by how the gradients travel.

    python benchmarks/communication.py [--rounds=3] [--steps=150]

The notebook's network in float32 on two workers with half of the cores each, over loopback. The
variants take turns, so that a slow moment of the machine meets all of them; the ratio is that of
medians to the first variant's. The first half of the steps warms up and isn't counted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VARIANTS = {
    "float32, one pack": [],
    "float32, packs of 1 MiB": ["--bytes_per_pack=1048576"],
    "float32, ring, one pack": ["--collective=ring"],
    "bfloat16, one pack": ["--wire_dtype=bfloat16"],
    "bfloat16, packs of 1 MiB": ["--wire_dtype=bfloat16", "--bytes_per_pack=1048576"],
}


def step_ms(flags: list[str], steps: int) -> float:
    """Milliseconds a step of one run."""
    with tempfile.TemporaryDirectory() as folder:
        places = [f"--checkpoint_dir={folder}/ck", f"--output_dir={folder}/out"]
        common = ["--no_gpu", f"--max_steps={steps}", "--steps_per_loop=10", "--log_interval=0"]
        command = ["bash", f"{ROOT}/launch/local.sh", "-n", "2", "--", *common, *places, *flags]
        environment = {**os.environ, "MNIST_DIST_PYTHON": sys.executable}
        subprocess.run(command, env=environment, check=True, capture_output=True)
        lines = (Path(folder) / "out" / "times.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    warm = rows[len(rows) // 2]
    return 1e3 * (rows[-1]["seconds"] - warm["seconds"]) / (rows[-1]["step"] - warm["step"])


def main() -> None:
    """Runs all variants and prints their table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=150)
    given = parser.parse_args()
    found: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(given.rounds):
        for name, flags in VARIANTS.items():
            found[name].append(step_ms(flags, given.steps))
    first = statistics.median(next(iter(found.values())))
    print("| gradients travel as | ms a step: least, median, most | ratio |\n| --- | --- | --- |")
    for name, taken in found.items():
        middle = statistics.median(taken)
        spread = f"{min(taken):.1f}, {middle:.1f}, {max(taken):.1f}"
        print(f"| {name} | {spread} | {middle / first:.2f} |")


if __name__ == "__main__":
    main()
