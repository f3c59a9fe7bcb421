"""Early stopping from the command line to result.json, on a network that overfits."""

import json
import shutil

import pytest

OVERFIT = ("--optimizer=adam", "--lr=0.02", "--dropout=0", "--epochs=40", "--log_interval=5")
EPOCH_STEPS = 40  # 2,500 images in batches of 64
PATIENCE = 3


@pytest.fixture(scope="module")
def flags(small):
    return (*small, *OVERFIT, f"--patience={PATIENCE}", "--keep_checkpoints=1")


@pytest.fixture(scope="module")
def whole(trainer, flags):
    run = trainer(*flags)
    assert (run.code, run.err) == (0, "")
    return run


def read(run, name="metrics.jsonl"):
    return (run.folder / "out" / name).read_bytes()


def stop_by_hand(run, monitor="loss", sign=1, min_delta=0.0):
    """The steps at which it had to stop and at which it was best, from its own log."""
    best = None
    for line in run.metrics("validation"):
        if best is None or sign * (best[0] - line[monitor]) > min_delta:
            best = line[monitor], line["step"]
        elif line["step"] - best[1] >= PATIENCE * EPOCH_STEPS:
            return line["step"], best[1]
    return line["step"], best[1]


def test_it_stops_so_many_epochs_after_the_best(whole):
    last, best = stop_by_hand(whole)
    result = whole.result()
    assert (result["stopped"], result["steps"]) == ("patience", last)
    assert last == best + PATIENCE * EPOCH_STEPS < 40 * EPOCH_STEPS
    assert [line["step"] for line in whole.metrics("validation")] == list(
        range(EPOCH_STEPS, last + 1, EPOCH_STEPS)
    )
    assert whole.checkpoints() == [best, last]  # the best is kept beyond --keep_checkpoints


def test_what_is_reported_is_of_the_best_weights(whole):
    _, best = stop_by_hand(whole)
    result = whole.result()
    for split in ("validation", "test"):
        lines = {line["step"]: line for line in whole.metrics(split)}
        assert result[f"{split}_accuracy"] == lines[best]["accuracy"]
        assert result[f"{split}_loss"] == pytest.approx(lines[best]["loss"], rel=1e-6)
        assert result[f"{split}_loss"] != pytest.approx(lines[max(lines)]["loss"], rel=1e-3)
    printed = f"The best weights are of global step {best}:\n" + (
        f"Test set: Average loss: {result['test_loss']:.4f}, "
        f"Accuracy: {100 * result['test_accuracy']:4f}%\n"
    )
    printed += f"\nweights_sha256: {result['weights_sha256']}\n"
    assert whole.out.endswith(printed)


@pytest.mark.parametrize("extra", [0, 17, EPOCH_STEPS])
def test_a_resume_changes_nothing(trainer, flags, whole, extra):
    """Stopped at the best epoch's end, in the middle of the next epoch, and at that one's end."""
    _, best = stop_by_hand(whole)
    cut = trainer(*flags, f"--max_steps={best + extra}")
    assert cut.result()["steps"] == best + extra
    resumed = trainer(*flags, folder=cut.folder)
    assert f"Goes on from {cut.folder}/ck/ckpt-{best + extra}" in resumed.out
    assert read(resumed) == read(whole)
    names = ("test_accuracy", "test_loss", "validation_loss", "steps", "stopped")
    assert all(resumed.result()[name] == whole.result()[name] for name in names)


def test_the_test_set_has_no_say(trainer, flags, whole, subset, tmp_path):
    """With other labels on all test images it stops at the same step with the same weights."""
    shutil.copytree(subset, tmp_path / "data")
    labels = tmp_path / "data/t10k-labels-idx1-ubyte"
    data = labels.read_bytes()
    labels.write_bytes(data[:8] + bytes((label + 1) % 10 for label in data[8:]))
    other = trainer(*flags, f"--data_dir={tmp_path / 'data'}")
    for split in ("train", "validation"):
        assert other.metrics(split) == whole.metrics(split)
    assert other.checkpoints() == whole.checkpoints()
    assert other.result()["test_accuracy"] < 0.1 < 0.8 < whole.result()["test_accuracy"]


def test_a_finished_run_says_so_again_and_stays_as_it_is(trainer, flags, whole):
    before = {path: path.read_bytes() for path in whole.folder.rglob("*") if path.is_file()}
    again = trainer(*flags, folder=whole.folder)
    last, _ = stop_by_hand(whole)
    assert f"This run is finished (patience, global step {last}).\n" in again.out
    assert again.out.endswith(whole.out[whole.out.index("The best weights are of") :])
    assert {p: p.read_bytes() for p in whole.folder.rglob("*") if p.is_file()} == before


def test_killed_before_its_result_it_still_gets_one(trainer, flags, whole, tmp_path):
    """As after a kill between the last save and result.json."""
    shutil.copytree(whole.folder, tmp_path / "run")
    for name in ("result.json", "predictions.npz"):
        (tmp_path / "run/out" / name).unlink()
    again = trainer(*flags, folder=tmp_path / "run")
    assert read(again) == read(whole)
    wanted, found = whole.result(), again.result()
    for changing in ("resources", "config"):
        wanted.pop(changing), found.pop(changing)
    assert found == wanted
    assert (again.folder / "out/predictions.npz").exists()


def test_out_of_epochs_before_out_of_patience(trainer, flags, whole):
    """What is reported is of the best weights then, too."""
    _, best = stop_by_hand(whole)
    run = trainer(*flags, f"--epochs={best // EPOCH_STEPS + 1}")
    result = run.result()
    assert (result["stopped"], result["steps"]) == ("completed", best + EPOCH_STEPS)
    for name in ("validation_loss", "test_loss", "test_accuracy"):
        assert result[name] == whole.result()[name]
    assert f"The best weights are of global step {best}:\n" in run.out


def test_accuracy_as_the_monitor_and_a_least_change(trainer, flags):
    run = trainer(*flags, "--monitor=validation_accuracy", "--min_delta=0.05", "--ema=0.9")
    last, best = stop_by_hand(run, "accuracy", -1, 0.05)
    assert (run.result()["stopped"], run.result()["steps"]) == ("patience", last)
    lines = {line["step"]: line for line in run.metrics("test")}
    assert run.result()["test_accuracy"] == lines[best]["accuracy"]
    values = {line["step"]: line["accuracy"] for line in run.metrics("validation")}
    assert max(values.values()) > values[best], "the least change decided nothing"


def test_refused(trainer, flags):
    assert "needs a validation split" in trainer(*flags, "--validation_size=0").refused()
    assert "--monitor=test_loss" in trainer(*flags, "--monitor=test_loss").refused()
    assert "--patience=-1" in trainer(*flags, "--patience=-1").refused()


def test_another_patience_is_another_run(trainer, flags, whole):
    line = trainer(*flags, f"--patience={PATIENCE + 1}", folder=whole.folder).refused()
    assert f"patience: {PATIENCE} then, {PATIENCE + 1} now" in line
    state = json.loads((whole.folder / f"ck/ckpt-{whole.checkpoints()[-1]}/state.json").read_text())
    assert state["state"]["stopped"] == "patience"
