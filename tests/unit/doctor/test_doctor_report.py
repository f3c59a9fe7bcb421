"""What the doctor makes of what the workers found."""

from pathlib import Path

from mnist_dist.config import Config
from mnist_dist.doctor.gpu import missing, problem
from mnist_dist.doctor.report import differing_devices, header, problems, text, verdict


def worker(rank, **changes):
    return {
        "rank": rank, "host": f"n{rank}", "address": f"n{rank}:15000", "cores": 2,
        "local_rank": 0, "local_size": 1,
        "machine_cores": 4, "memory_bytes": 2**34, "memory_free_bytes": 2**33,
        "devices": ["/cpu:0"], "device_problem": "", "data": "MNIST", "data_problem": "",
        "data_fingerprint": "aa", "checkpoint_problem": "", "clock_skew_s": 0.0,
        "versions": {"numpy": "2.4.0"}, "flags": {"lr": "0.01"}, "gpus": [],
        "gpu_driver": "", "gpu_built_for": {"cuda": "12.5.1", "cudnn": "9"}, "gpu_problem": "",
        **changes,
    }  # fmt: skip


def judged(**changes):
    return problems([worker(0), worker(1), worker(2, **changes)])


def test_nothing_to_find():
    assert judged() == []


def test_what_stops_a_run_is_bad_and_names_the_worker():
    for changes, said in [
        ({"devices": ["/gpu:0", "/gpu:1"]}, "2 device(s), worker 0 has 1"),
        ({"device_problem": "--gpus=3: there is one"}, "--gpus=3: there is one"),
        ({"data_problem": "torn"}, "torn"),
        ({"data_fingerprint": "bb", "data": "Fashion"}, "other data (Fashion)"),
        ({"checkpoint_problem": "not seen"}, "not seen; give a --checkpoint_dir on a shared"),
        ({"versions": {"numpy": "2.3.0"}}, "numpy 2.3.0, worker 0 has 2.4.0"),
        ({"flags": {"lr": "0.02"}}, "--lr=0.02, worker 0 has 0.01"),
    ]:
        [finding] = judged(**changes)
        assert finding["bad"]
        assert finding["rank"] == 2
        assert finding["text"].startswith(f"worker 2 (host n2): {said}")


def test_what_a_run_survives_is_a_note():
    for changes, said in [
        ({"clock_skew_s": -61.0}, "its clock is -61.0 s from worker 0's"),
        ({"memory_free_bytes": 2**29}, "0.5 GiB of memory are free"),
    ]:
        [finding] = judged(**changes)
        assert not finding["bad"]
        assert said in finding["text"]


def test_a_gpu_that_tensorflow_does_not_see():
    """A run would go on, on what is seen; --gpus for more is refused."""
    [finding] = judged(gpu_problem="NVIDIA's driver shows 1 GPU(s), TensorFlow sees 0: ...")
    assert not finding["bad"]
    assert finding["text"].startswith("worker 2 (host n2): NVIDIA's driver shows 1 GPU(s)")


def test_why_a_gpu_is_not_seen(tmp_path):
    install = "pip install 'tensorflow[and-cuda]'"
    assert problem(0, 0, True, ["libcudnn.so.9"]) == ""
    assert problem(2, 2, True, []) == ""
    assert problem(1, 0, True, ["libcudnn.so.9"]) == (
        "NVIDIA's driver shows 1 GPU(s), TensorFlow sees 0: libcudnn.so.9 can't be opened; "
        + install
    )
    assert problem(1, 0, False, []).endswith(f"it was built without CUDA; {install}")
    assert "TF_CPP_MIN_LOG_LEVEL=0" in problem(1, 0, True, [])
    libc = next(Path("/").glob("lib*/x86_64-linux-gnu/libc.so.6"), None)
    (tmp_path / "libthere.so.1").symlink_to(libc)
    names = ["libthere.so.1", "libnowhere.so.9", "libc.so.6"]
    assert missing(names, [tmp_path]) == ["libnowhere.so.9"]


def burned(digests, device="/cpu:0", kind="EPYC"):
    return {"device": device, "kind": kind, "digests": digests}


def test_a_device_with_other_bits_is_named():
    """Once, always, or alone with itself; another kind of device may have other bits."""
    workers = [worker(rank) for rank in range(3)]
    for found, said in [
        (
            [[burned({"a": 9})], [burned({"a": 7, "b": 2})], [burned({"a": 8})]],
            "in 2 of 9 rounds: it errs now and then (",
        ),
        (
            [[burned({"a": 9})], [burned({"b": 7})], [burned({"a": 8})]],
            "in 7 of 7 rounds, each time the same: it errs always, so repeating on",
        ),
        (
            [[burned({"a": 9})], [burned({"b": 4, "c": 3})], [burned({"a": 8})]],
            "in 7 of 7 rounds, with 2 different results: it errs always (",
        ),
        ([[burned({"x": 5}, kind="Xeon")], [burned({"a": 7, "b": 1})], []], "in 1 of 8 rounds"),
    ]:
        [finding] = differing_devices(workers, found)
        assert finding["bad"]
        assert finding["rank"] == 1
        assert finding["text"].startswith("worker 1 (host n1): /cpu:0: other bits than most")
        assert said in finding["text"]
    assert (
        differing_devices(workers, [[burned({"a": 9})], [burned({"b": 1}, kind="Xeon")], []]) == []
    )


def test_two_devices_that_differ_are_both_named():
    found = [[burned({"a": 9})], [burned({"b": 8}, "/cpu:1")]]
    findings = differing_devices([worker(0), worker(1)], found)
    assert [finding["rank"] for finding in findings] == [0, 1]
    assert (
        "worker 1 (host n1): /cpu:1: 8 rounds; devices of its kind differ, and none has"
        in (findings[1]["text"])
    )


def test_the_page():
    card = {"name": "NVIDIA H200", "memory_bytes": 2**37, "used_bytes": 2**30}
    workers = [
        worker(0, gpus=[card], gpu_driver="580.1"),
        worker(1, devices=["/cpu:0", "/cpu:1"]),
    ]
    report = {
        "workers": workers, "source": "slurm", "note": "a note", "verdict": "it says",
        "config": {"batch_size": 7, "accumulate_steps": 1, "checkpoint_dir": "/ck"},
        "findings": problems(workers),
        "all_reduce": {"replicas": 3, "bytes": [1000, 4000], "seconds": [0.001, 0.002],
                       "alpha_s": 0.0005, "beta_bytes_per_s": 2e6},
        "burn_in": {"seconds": 60.0, "workers": [[burned({"a": 9})], [burned({"a": 7, "b": 1})]]},
    }  # fmt: skip
    lines = text(report).splitlines()
    assert "SLURM" in lines[0]
    shares = [line.split()[-1] for line in lines[2:4]]
    assert sum(int(n) for share in shares for n in share.split("+")) == 7
    assert "a note" in lines
    assert lines[4] == (
        "GPUs of worker 0: NVIDIA H200 (127.0 of 128.0 GiB free); driver 580.1, TensorFlow was "
        "built for CUDA 12.5.1 and cuDNN 9"
    )
    assert "  1,000  1.000   1.0" in lines
    assert (
        "Burn-in: 2 device(s), each by itself for 60 s; 17 times the same steps, 2 different "
        "result(s)" in lines
    )
    assert "  fit: 0.500 ms + bytes / 2 MB/s" in lines
    assert lines[-2].startswith("NOT WELL: worker 1 (host n1): 2 device(s)")
    assert lines[-1] == "it says"


def test_the_verdict():
    assert verdict(True) == "Well: a run with these flags would work."
    assert verdict(False) == "A run with these flags would not work."


def test_the_head():
    lines = header(Config(checkpoint_dir="/ck"), worker(0)).splitlines()
    assert lines == ["Data: MNIST", "Checkpoints: /ck", "Versions of worker 0: numpy 2.4.0"]
