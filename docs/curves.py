"""Draws docs/curves.png: the loss curves of 1, 2, 4 and 8 replicas over each other.

    python docs/curves.py [FOLDER]

Trains the notebook's recipe for an epoch on as many logical CPU devices, in float32, and again in
float64 for 200 steps. FOLDER keeps the runs (default: a temporary one). It takes some minutes, and
matplotlib (`pip install 'mnist_dist[report]'`).
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

REPLICAS = (1, 2, 4, 8)
PICTURE = Path(__file__).with_suffix(".png")
STEPS = {"float32": 860, "float64": 200}


def main(folder: Path) -> None:
    """Trains and draws."""
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(9, 7), sharex=True, layout="constrained")
    for precision, line in (("float32", "-"), ("float64", ":")):
        one: list[float] = []
        for number, replicas in enumerate(REPLICAS):
            losses, accuracy = trained(folder / f"{precision}-{replicas}", precision, replicas)
            one = one or losses
            label = f"{replicas} replica{'s' * (replicas > 1)}, {precision}"
            steps = range(1, len(losses) + 1)
            if precision == "float32":
                # Each is thinner than the one it lies on, so that all of them are seen.
                width = 8.0 / 2**number
                name = f"{label}: {100 * accuracy:.2f} % on the test set"
                top.plot(steps, losses, line, color=f"C{number}", linewidth=width, label=name)
            if replicas > 1:
                apart = [max(abs(a - b), 1e-17) for a, b in zip(losses, one, strict=True)]
                bottom.plot(steps, apart, line, color=f"C{number}", linewidth=1, label=label)
    top.set(ylabel="loss of the step's global batch", title="One curve on any number of replicas")
    bottom.set(xlabel="global step", ylabel="difference to 1 replica", yscale="log")
    for axes in (top, bottom):
        axes.legend(frameon=False, fontsize="small")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURE, dpi=110)
    print(f"Drew {PICTURE}")


def trained(folder: Path, precision: str, replicas: int) -> tuple[list[float], float]:
    """The loss of each step, and the test accuracy (0..1); trains unless the folder has them."""
    flags = [f"--precision={precision}", f"--virtual_devices={replicas}", "--log_interval=1"]
    flags += [f"--max_steps={STEPS[precision]}", "--no_gpu"]
    flags += [f"--checkpoint_dir={folder}/ck", f"--output_dir={folder}/out"]
    subprocess.run([sys.executable, "-m", "mnist_dist.train", *flags], check=True)
    rows = map(json.loads, (folder / "out" / "metrics.jsonl").read_text().splitlines())
    result = json.loads((folder / "out" / "result.json").read_text())
    return [row["loss"] for row in rows if row["split"] == "train"], result["test_accuracy"]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
