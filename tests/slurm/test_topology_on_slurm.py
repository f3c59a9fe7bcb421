"""topology.py against what srun really does, and against SLURM's own host list parser."""

import json
import random
import sys
from pathlib import Path

import pytest

from mnist_dist.cluster.hostlist import expand_hostlist

ROOT = Path(__file__).resolve().parents[2]
TELL = """
import json, os, socket, sys
from mnist_dist.cluster import topology
t = topology.from_environment(os.environ)
print(json.dumps([socket.gethostname(), t.rank, t.workers, t.token, t.source, t.note]))
"""


def told(output):
    return sorted((json.loads(line) for line in output.splitlines()), key=lambda row: row[1])


def hosts_of(workers):
    return [worker.rpartition(":")[0] for worker in workers]


@pytest.mark.parametrize(
    "arguments",
    [
        "-N3 -n3",
        "-N3 -n7",
        "-N2 -n3",
        "-N3 -n7 -m block",
        "-N3 -n7 -m cyclic",
        "-N3 -n7 -m cyclic:block",
        "-N3 -n7 -m plane=2",
        "-N3 -n11 -m plane=3",
        "-N3 -n5 -c2 -m block:cyclic",
        "-N3 -n3 -w n3,n1,n2",
        "-N1 -n4",
        "-N2 -n4 --gpus-per-task=1",
    ],
)
def test_each_task_computes_where_all_of_them_are(cluster, arguments):
    done = cluster.run("srun", *arguments.split(), sys.executable, "-c", TELL, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    rows = told(done.stdout)
    assert [row[1] for row in rows] == list(range(len(rows)))
    assert len(rows) == int(arguments.split("-n")[1].split()[0])
    for row in rows:
        assert hosts_of(row[2]) == [host for host, *_ in rows]
        assert row[2:4] == rows[0][2:4]  # all have the same addresses and token


def test_arbitrary_distribution_is_refused_unless_told(cluster, tmp_path):
    hostfile = tmp_path / "hosts"
    hosts = ["n3", "n1", "n1", "n2", "n3"]
    hostfile.write_text("\n".join(hosts) + "\n")
    environment = {"SLURM_HOSTFILE": str(hostfile)}
    command = ["srun", "-n5", "-m", "arbitrary", sys.executable, "-c", TELL]
    refused = cluster.run(*command, cwd=ROOT, environment=environment)
    assert refused.returncode != 0
    assert "MNIST_DIST_HOSTS" in refused.stderr
    environment["MNIST_DIST_HOSTS"] = ",".join(hosts)
    done = cluster.run(*command, cwd=ROOT, environment=environment)
    assert [row[0] for row in told(done.stdout)] == hosts
    assert all(hosts_of(row[2]) == hosts for row in told(done.stdout))
    environment["MNIST_DIST_HOSTS"] = "n3,n2,n1,n2,n3"
    wrong = cluster.run(*command, cwd=ROOT, environment=environment)
    assert "doesn't fit" in wrong.stderr


def test_inside_a_job(cluster, tmp_path):
    """A step that is a part of the job, a single task, a script without srun, an own network."""
    script = tmp_path / "job.sh"
    tell = tmp_path / "tell.py"
    tell.write_text(TELL)
    python = f"env PYTHONPATH={ROOT} {sys.executable} {tell}"
    script.write_text(
        f"#!/bin/bash\n#SBATCH -N3 -n7 -m cyclic\n"
        f"{python}; echo --\n"
        f"srun -n1 -N1 {python}; echo --\n"
        f"srun -N2 -n2 -r1 {python}; echo --\n"
        f"MNIST_DIST_HOST_SUFFIX=-ib srun {python}; echo --\n"
    )
    output, errors = tmp_path / "out", tmp_path / "err"  # srun says there for what it waits
    options = ("--wait", f"--output={output}", f"--error={errors}")
    done = cluster.run("sbatch", *options, str(script), cwd=ROOT)
    assert done.returncode == 0, output.read_text() + errors.read_text()
    batch, single, part, suffixed = map(told, output.read_text().split("--\n")[:4])
    assert [row[2] for row in batch] == [[]]
    assert "not started by srun" in batch[0][5]
    assert [(row[2], row[5]) for row in single] == [([], "")]
    assert [row[0] for row in part] == ["n2", "n3"] == hosts_of(part[0][2]) == hosts_of(part[1][2])
    assert hosts_of(suffixed[0][2]) == [f"{host}-ib" for host, *_ in suffixed]
    assert part[0][3] != suffixed[0][3]  # two steps of one job don't meet


def test_host_lists_as_scontrol_expands_them(cluster):
    generator = random.Random(1)

    def one():
        parts = []
        for _ in range(generator.randint(1, 3)):
            name = generator.choice(["n", "rack", "gpu-a", "x1y", "node0"])
            for number in range(generator.randint(0, 4)):
                # This SLURM refuses text after the last bracket; the unit tests have it.
                name += generator.choice(["", "-ib", "n", ".lan"]) if number else ""
                first = generator.randint(0, 12)
                width = generator.choice([1, 2, 3])
                numbers = [f"{first:0{width}d}"]
                if generator.random() < 0.7:
                    numbers[0] += f"-{first + generator.randint(0, 5):0{width}d}"
                if generator.random() < 0.4:
                    numbers.append(f"{generator.randint(20, 30):0{width}d}")
                name += f"[{','.join(numbers)}]"
            parts.append(name)
        return ",".join(parts)

    lists = [one() for _ in range(300)]
    expanded = cluster.ask(
        "sh", "-c", 'for list; do scontrol show hostnames "$list"; echo --; done', "sh", *lists
    )
    theirs = [block.split() for block in expanded.split("--")[:-1]]
    assert len(theirs) == len(lists)
    for text, names in zip(lists, theirs, strict=True):
        assert expand_hostlist(text) == names, text
