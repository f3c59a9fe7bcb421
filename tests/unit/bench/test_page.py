"""What the levels come to, and the page of it."""

import json

import pytest

from mnist_dist.bench.__main__ import Options, main, read
from mnist_dist.bench.page import text
from mnist_dist.bench.plan import Level
from mnist_dist.bench.result import figures, merge, prediction
from mnist_dist.errors import UsageError
from mnist_dist.training.reduce_plan import Gradients, Sending

TRAVELS = {"parameters": 1_000_000, "bytes": 4_000_000, "reductions": 1}
SENDING = Sending(Gradients(1_000_000))


def way(batch, images, step_s, alone_s, wait_s=0.0, sent=4_000_000):
    return {"batch": batch, "images": images, "step_s": step_s, "wait_s": wait_s,
            "alone_s": alone_s, "bytes": sent}  # fmt: skip


def found(weak, strong, all_reduce=None):
    return {"weak": weak, "strong": strong, "all_reduce": all_reduce, "product_row_s": 0.0}


def measured():
    """Two workers of a device: 64 images take one 68 ms, and a sum of 4 MB 43 ms."""
    one = way(64, 64, 0.068, 0.068, 0.0068)
    sums = {"bytes": [1024, 4_000_000], "seconds": [0.003 + 1024e-8, 0.043]}
    here = found(way(128, 64, 0.112, 0.060), way(64, 32, 0.080, 0.036), sums)
    there = found(way(128, 64, 0.112, 0.068, 0.001), way(64, 32, 0.080, 0.030), sums)
    rows = [merge(Level(1, 1), [found(one, one)]), merge(Level(2, 1), [here, there])]
    figures(rows)
    return rows


def test_figures():
    """128 images in 112 ms are 1,143 a second; one replica makes 941."""
    one, two = measured()
    assert two["weak"]["images_per_s"] == pytest.approx(1142.86, abs=0.01)
    assert two["weak"]["efficiency"] == pytest.approx(1142.86 / (2 * 941.18), rel=1e-4)
    assert two["weak"]["communication"] == pytest.approx(1 - 68 / 112)  # by the slowest
    assert two["weak"]["input"] == pytest.approx(1 / 112)
    assert two["strong"]["efficiency"] == pytest.approx(68 / (2 * 80))
    assert (one["weak"]["efficiency"], one["weak"]["communication"]) == (1.0, 0.0)
    assert one["weak"]["input"] == pytest.approx(0.1)


def test_prediction():
    """The step is 4 ms + 1 ms an image; the sum 2 x 1.5 ms + 4 MB at 100 MB/s."""
    rows = measured()
    said = prediction(rows, SENDING)
    assert said["step"] == pytest.approx({"fixed_s": 0.004, "image_s": 0.001, "product_row_s": 0.0})
    assert said["ring"] == pytest.approx(
        {"launch_s": 0.0, "alpha_s": 0.0015, "bytes_per_s": 1e8}, rel=1e-3
    )
    assert rows[1]["weak"]["model_s"] == pytest.approx(0.111, rel=1e-3)
    assert rows[1]["strong"]["model_s"] == pytest.approx(0.079, rel=1e-3)
    assert [point["replicas"] for point in said["weak"]["points"]][-1] == 1024
    assert [point["replicas"] for point in said["strong"]["points"]][-1] == 64
    assert [change["flags"] for change in said["changes"]] == [
        "--batch_size=256",
        "--batch_size=256 --accumulate_steps=4",
        "--wire_dtype=bfloat16",
        "--batch_size=256 --wire_dtype=bfloat16",
    ]
    # Four times the images: 260 ms beside the sum, which is 40 (n-1)/n x 2 + 3 (n-1) ms.
    assert said["changes"][0]["weak"]["worth"] == 61


def test_links_within_a_machine_dont_count_where_there_is_a_network():
    rows = measured()
    fast = {"bytes": [1024, 4_000_000], "seconds": [1e-5, 2e-5]}
    inside = {**rows[1], "workers": 1, "devices": 2, "all_reduce": fast}
    said = prediction([rows[0], inside, rows[1]], SENDING._replace(number_bytes=2))
    assert said["ring"]["bytes_per_s"] == pytest.approx(1e8, rel=1e-3)
    assert len(said["changes"]) == 2


def report(rows, workers=2):
    return {
        "workers": [{"rank": n, "host": f"n{n}", "cores": 8} for n in range(workers)],
        "hardware": "AMD EPYC", "shared": False, "precision": "float32", **TRAVELS,
        "levels": rows, "prediction": prediction(rows, SENDING),
    }  # fmt: skip


def test_the_page():
    lines = text(report(measured())).splitlines()
    assert lines[0] == (
        "Replicas: 2 over 2 worker(s) on 2 host(s), 8 core(s) for each worker; AMD EPYC"
    )
    weak = lines.index("Weak scaling, 64 images on each replica:")
    assert lines[weak + 2].split() == ["1", "1", "68.00", "941", "100.0", "%", "10.0", "%", "0.0",
                                       "%", "-"]  # fmt: skip
    assert lines[weak + 3].split() == ["2", "2", "112.00", "1,143", "60.7", "%", "0.9", "%",
                                       "39.3", "%", "111.00"]  # fmt: skip
    assert "  replicas  1,024 B  4,000,000 B" in lines
    assert "  0.00 ms + 2(n-1) x 1.500 ms + 2(n-1)/n x S / 100 MB/s (a ring)," in lines
    [last] = [line.split() for line in lines if line.split()[:1] == ["1024"]]
    assert last[-4:] == ["-"] * 4  # strong: an image for each is the most
    border = next(line for line in lines if line.startswith("  as it is"))
    assert border.split()[3:] == ["3", "1", "1"]  # 3 weak ones: 68 ms beside 59; 4: 69
    assert max(map(len, lines)) <= 110
    assert "+" not in border


def test_the_page_of_one_replica():
    """And of one machine: its links say little of a network."""
    [one] = measured()[:1]
    lines = text(report([one], workers=1)).splitlines()
    assert lines[-1] == "A prediction for more replicas needs at least two here."
    assert "between devices of one machine" in text(report(measured(), workers=1))


def test_options():
    assert read(["--lr=0.1", "--json=a", "-png=b", "--seconds=0.5", "word"]) == Options(
        "a", "b", 0.5, ("--lr=0.1", "word")
    )
    for word, said in [
        ("--json", "argument --json: expected one argument; --help lists the arguments"),
        ("--png=", "argument --png: it is empty; give a value; --help lists the arguments"),
        ("--seconds=soon", "--seconds=soon: give seconds, more than 0, such as --seconds=2"),
        ("--seconds=nan", "--seconds=nan: give seconds, more than 0, such as --seconds=2"),
        ("--seconds=0", "--seconds=0: give seconds, more than 0, such as --seconds=2"),
    ]:
        with pytest.raises(UsageError) as raised:
            read([word])
        assert str(raised.value) == said


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--lr=fast"], "mnist_dist: --lr=fast: give a number"),
        (["--shards=4"], "mnist_dist: --shards=4: the bench predicts a ring's sum"),
        (
            ["--json=/dev/null/x/y.json"],
            "mnist_dist: the folder of --json=/dev/null/x: can't write",
        ),
        (["--seconds"], "mnist_dist: argument --seconds: expected one argument"),
    ],
)
def test_wrong_use_is_one_line(argv, said, capsys, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert main(["--cluster=none", *argv]) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith(said)
    assert len(written.err.splitlines()) == 1


def test_without_matplotlib_a_line_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["--cluster=none", "--png=a.png"]) == 2
    assert "--png=a.png needs matplotlib; pip install 'mnist_dist[report]'" in (
        capsys.readouterr().err
    )


def test_the_report_is_json():
    json.dumps(report(measured()), allow_nan=False)
