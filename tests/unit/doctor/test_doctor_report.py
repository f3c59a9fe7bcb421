"""What the doctor makes of what the workers found."""

from pathlib import Path

from mnist_dist.config import Config
from mnist_dist.doctor.gpu import missing, problem
from mnist_dist.doctor.report import judge, text


def worker(rank, **changes):
    return {
        "rank": rank, "host": f"n{rank}", "address": f"n{rank}:15000", "cores": 2,
        "machine_cores": 4, "memory_bytes": 2**34, "memory_free_bytes": 2**33,
        "devices": ["/cpu:0"], "device_problem": "", "data": "MNIST", "data_problem": "",
        "data_fingerprint": "aa", "checkpoint_problem": "", "clock_skew_s": 0.0,
        "versions": {"numpy": "2.4.0"}, "flags": {"lr": "0.01"}, "gpus": [],
        "gpu_driver": "", "gpu_built_for": {"cuda": "12.5.1", "cudnn": "9"}, "gpu_problem": "",
        **changes,
    }  # fmt: skip


def judged(**changes):
    return judge(Config(), [worker(0), worker(1), worker(2, **changes)])


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


def test_the_page():
    card = {"name": "NVIDIA H200", "memory_bytes": 2**37, "used_bytes": 2**30}
    workers = [
        worker(0, gpus=[card], gpu_driver="580.1"),
        worker(1, devices=["/cpu:0", "/cpu:1"]),
    ]
    report = {
        "workers": workers, "source": "slurm", "note": "a note", "well": False,
        "config": {"batch_size": 7, "accumulate_steps": 1, "checkpoint_dir": "/ck"},
        "findings": judge(Config(), workers),
        "all_reduce": {"replicas": 3, "bytes": [1000, 4000], "seconds": [0.001, 0.002],
                       "alpha_s": 0.0005, "beta_bytes_per_s": 2e6},
    }  # fmt: skip
    lines = text(report).splitlines()
    assert "SLURM" in lines[0]
    shares = [line.split()[-1] for line in lines[2:4]]
    assert sum(int(n) for share in shares for n in share.split("+")) == 7
    assert "a note" in lines
    assert lines[7] == (
        "GPUs of worker 0: NVIDIA H200 (127.0 of 128.0 GiB free); driver 580.1, TensorFlow was "
        "built for CUDA 12.5.1 and cuDNN 9"
    )
    assert "  1,000  1.000   1.0" in lines
    assert "  fit: 0.500 ms + bytes / 2 MB/s" in lines
    assert lines[-2].startswith("NOT WELL: worker 1 (host n1): 2 device(s)")
    assert lines[-1] == "A run with these flags would not work."
