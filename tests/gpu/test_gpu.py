"""On a GPU: the same bits twice, float32 that is float32, logical devices, a full card.

In float32 the GPU adds in another order than the CPU: a loss of about 2.3 is then off by a few
2^-22 at each of the 20 steps compared. TF32 keeps 10 bits, 2^-11 of each product.
"""

import subprocess

import pytest

from tests.process.trainer import ROOT, Run, environment, folders, train

ROUNDED = 20 * 8 * 2**-22
LONG, SHORT = ("--log_interval=1", "--max_steps=300"), ("--log_interval=1", "--max_steps=20")
EVERYTHING = (
    *("--batch_norm", "--residual", "--kernel_size=3", "--optimizer=adam", "--schedule=onecycle"),
    *("--clip_norm=1", "--label_smoothing=0.1", "--ema=0.9", "--weight_decay=0.01"),
    *("--shift_px=2", "--rotate_deg=10", "--zoom=0.1", "--batch_size=50"),
)


def started(folder, *flags):
    return train(folder, *flags, run=subprocess.run)  # a card isn't shared over a fork


def run(folder, *flags):
    folder.mkdir(exist_ok=True)
    found = started(folder, *flags)
    assert found.code == 0, found.err
    return found


def apart(a, b):
    a, b = a.losses(), b.losses()
    assert list(a) == list(b)
    return max(abs(a[step] - b[step]) for step in a)


def same(a, b):
    metrics = [(r.folder / "out/metrics.jsonl").read_bytes() for r in (a, b)]
    return metrics[0] == metrics[1] and a.result()["weights_sha256"] == b.result()["weights_sha256"]


@pytest.mark.parametrize("flags", [(), EVERYTHING, ("--precision=mixed_bfloat16",)], ids=len)
def test_the_same_bits_twice_and_resumed(tmp_path, flags):
    once = run(tmp_path / "once", *LONG, *flags)
    assert "Using device /gpu:0" in once.out
    assert once.result()["deterministic"]
    assert same(run(tmp_path / "again", *LONG, *flags), once)
    run(tmp_path / "resumed", *LONG, *flags, "--max_steps=137")
    assert same(run(tmp_path / "resumed", *LONG, *flags), once)


def test_nondeterministic_is_said(tmp_path):
    found = run(tmp_path, *SHORT, "--nondeterministic")
    assert not found.result()["deterministic"]
    assert "Not deterministic: two runs of this command differ" in found.out


def test_float32_is_the_cpus(tmp_path):
    cpu = run(tmp_path / "cpu", *SHORT, "--no_gpu")
    gpu = run(tmp_path / "gpu", *SHORT)
    assert apart(gpu, cpu) < ROUNDED
    assert apart(gpu, cpu) < apart(run(tmp_path / "tf32", *SHORT, "--precision=tf32"), cpu) < 0.06


@pytest.mark.parametrize("flags", [(), EVERYTHING[:-4], EVERYTHING], ids=len)
def test_compiled_by_xla_or_not(tmp_path, flags):
    on = run(tmp_path / "on", *SHORT, "--precision=float64", *flags)
    assert "precision float64, compiled by XLA." in on.out
    off = run(tmp_path / "off", *SHORT, "--precision=float64", "--xla=off", *flags)
    assert "precision float64." in off.out
    turned = "--rotate_deg=10" in flags  # which is sampled in float32
    assert apart(on, off) < (1e-4 if turned else 1e-12)


@pytest.mark.parametrize("devices", [2, 4])
def test_logical_devices_of_one_card(tmp_path, devices):
    flags = (*SHORT, "--precision=float64")
    one = run(tmp_path / "one", *flags)
    # Else they would be cut from what is free, which other tests may take meanwhile.
    logical = (f"--virtual_devices={devices}", "--gpu_memory_mib=8192")
    some = run(tmp_path / "some", *flags, *logical)
    assert some.result()["num_replicas"] == devices
    assert "are logical devices of one GPU, which NCCL refuses: the reduction is ring." in some.out
    assert apart(some, one) < 1e-12


@pytest.mark.parametrize("workers", [1, 2])
def test_two_replicas_compiled_by_xla(tmp_path, workers):
    """Two logical GPUs, or two processes, on one card."""
    flags = (*SHORT, "--precision=float64")
    one = run(tmp_path / "one", *flags, "--xla=off")
    place = tmp_path / "two"
    place.mkdir()
    if workers == 1:
        logical = ("--virtual_devices=2", "--gpu_memory_mib=8192")
        two = run(place, *flags, *logical, "--xla=on")
    else:
        shared = ("--gpus=0,", "--gpu_memory_mib=4096", "--collective=ring")
        launcher = ["bash", str(ROOT / "launch/local.sh"), "-n", "2", "--"]
        command = [*launcher, *flags, *shared, "--xla=on", *folders(place)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment())
        two = Run(done.returncode, done.stdout, done.stderr, place)
        assert two.code == 0, two.err
    assert two.result()["num_replicas"] == 2
    assert "precision float64, compiled by XLA." in two.out
    assert apart(two, one) < 1e-12


def test_shards_by_xla_have_the_same_bits_on_two_logical_devices(tmp_path):
    flags = (*SHORT, "--shards=4", "--xla=on")
    logical = ("--virtual_devices=2", "--gpu_memory_mib=8192")
    assert same(run(tmp_path / "one", *flags), run(tmp_path / "two", *flags, *logical))


def test_several_gpus_are_compiled_only_when_asked_for(tmp_path):
    found = run(tmp_path, *SHORT, "--virtual_devices=2", "--gpu_memory_mib=8192")
    assert "compiled by XLA" not in found.out
    assert "--xla=auto: off, since XLA with several GPUs hasn't been timed" in found.out


def test_auto_is_measured_and_remembered(tmp_path):
    first = run(tmp_path, *SHORT, "--precision=auto")
    chosen = first.result()["precision"]
    assert f"--precision=auto: {chosen}, measured, ms a step: float32 " in first.out
    again = run(tmp_path, *LONG, "--precision=auto")
    assert f"--precision=auto: {chosen}, as the run was begun" in again.out


def test_a_full_card(tmp_path):
    flags = ("--gpu_memory_mib=1024", "--batch_size=50000", "--conv_filters=64,64")
    line = started(tmp_path, *SHORT, *flags).refused(1)
    assert "memory is full" in line
    assert "--accumulate_steps" in line


def test_a_trace(tmp_path):
    run(tmp_path, *SHORT, "--profile=10:5")
    assert list(tmp_path.rglob("*.xplane.pb"))
