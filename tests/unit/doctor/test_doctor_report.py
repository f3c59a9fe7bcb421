"""What the doctor makes of what the workers found."""

from mnist_dist.config import Config
from mnist_dist.doctor.report import head, judge, text, verdict


def worker(rank, **changes):
    return {
        "rank": rank, "host": f"n{rank}", "address": f"n{rank}:15000", "cores": 2,
        "machine_cores": 4, "memory_bytes": 2**34, "memory_free_bytes": 2**33,
        "devices": ["/cpu:0"], "device_problem": "", "data": "MNIST", "data_problem": "",
        "data_fingerprint": "aa", "checkpoint_problem": "", "clock_skew_s": 0.0,
        "versions": {"numpy": "2.4.0"}, "flags": {"lr": "0.01"}, **changes,
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


def test_the_page():
    workers = [worker(0), worker(1, devices=["/cpu:0", "/cpu:1"])]
    report = {
        "workers": workers, "source": "slurm", "note": "a note", "verdict": "it says",
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
    assert "  1,000  1.000   1.0" in lines
    assert "  fit: 0.500 ms + bytes / 2 MB/s" in lines
    assert lines[-2].startswith("NOT WELL: worker 1 (host n1): 2 device(s)")
    assert lines[-1] == "it says"


def test_the_verdict():
    assert verdict([]) == "A run with these flags would work."
    note = {"bad": False, "rank": 0, "text": ""}
    assert verdict([note]) == "A run with these flags would work."
    assert verdict([note, {**note, "bad": True}]) == "A run with these flags would not work."


def test_the_head():
    lines = head(Config(checkpoint_dir="/ck"), worker(0)).splitlines()
    assert lines == ["Data: MNIST", "Checkpoints: /ck", "Versions of worker 0: numpy 2.4.0"]
