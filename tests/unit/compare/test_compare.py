"""Where two runs first differ, from files written by hand."""

import json

import pytest

from mnist_dist.compare import __main__ as compare
from mnist_dist.compare import difference, files
from mnist_dist.run import publishing

CONFIG = {"seed": 0, "lr": 0.01, "run_dir": "here"}
RESULT = {
    **{"steps": 40, "data": "f" * 64, "config": CONFIG, "versions": {"tensorflow": "2.21.0"}},
    **{"arithmetic": {"cpu": "AVX2"}, "resources": {"hostname": "n1", "cores": 2}},
    **{"weights_sha256": "a" * 64, "num_replicas": 1},
}
LAYERS = ("conv1/kernel", "logits/bias")


def digests(step, gradient="0" * 16, weights="1" * 16):
    both = {"gradient": dict.fromkeys(LAYERS, gradient), "weights": dict.fromkeys(LAYERS, weights)}
    return {"step": step, "format": 1, **both}


def write(folder, result=RESULT, losses=(4.0, 3.0, 2.0, 1.0), lines=(), cut=b""):
    folder.mkdir()
    if result:
        (folder / "result.json").write_text(json.dumps(result))
    rows = [{"step": 10 * n, "split": "train", "loss": loss} for n, loss in enumerate(losses, 1)]
    for name, records in (("metrics.jsonl", rows), ("digests.jsonl", lines)):
        if records:
            data = "".join(json.dumps(record) + "\n" for record in records).encode()
            (folder / name).write_bytes(data + cut)
    return str(folder)


@pytest.fixture
def compared(tmp_path, capsys):
    """Two runs, the second with changes: exit code, output, errors."""

    def run(first=None, *arguments, **second):
        names = [write(tmp_path / "a", **(first or {})), write(tmp_path / "b", **second)]
        code = compare.main([*names, *arguments])
        return (code, *capsys.readouterr())

    return run


def test_equal_runs(compared):
    code, out, err = compared()
    assert (code, err) == (0, "")
    assert out == (
        "No flag, version or hardware differs.\n"
        "Equal: all metrics, up to step 40, the last that both have.\n"
    )


def test_equal_until_the_shorter_ends(compared):
    lines = [digests(10), digests(20), digests(30)]
    code, out, _ = compared({"lines": lines}, losses=(4.0, 3.0), lines=lines[:2])
    assert code == 0
    assert "Equal: all metrics and the digests of 2 steps, up to step 20, the last" in out


def test_flags_versions_and_hardware(compared):
    other = {
        **RESULT,
        **{"config": {**CONFIG, "lr": 0.02, "run_dir": "there", "new_flag": 3}},
        **{"versions": {"tensorflow": "2.20.0"}, "arithmetic": {"cpu": "AVX512"}},
        **{"resources": {"hostname": "n2", "cores": 4}, "num_replicas": 2},
    }
    code, out, _ = compared(result=other)
    assert code == 0
    table = [line.split() for line in out.splitlines()[1:-1]]
    assert table == [
        *(["--lr", "0.01", "0.02"], ["--new_flag", "-", "3"], ["tensorflow", "2.21.0", "2.20.0"]),
        *(["cpu", "AVX2", "AVX512"], ["num_replicas", "1", "2"], ["hostname", "n1", "n2"]),
        ["cores", "2", "4"],
    ]


def test_the_first_loss_that_differs(compared):
    code, out, _ = compared(losses=(4.0, 3.0, 2.5, 1.5))
    assert code == 1
    assert out.splitlines()[1] == (
        "The metrics differ at step 30 (equal up to step 20), train: loss; losses 2.0, 2.5."
    )


def test_losses_are_shown_only_if_they_differ(tmp_path):
    rows = [{"step": 10, "split": "train", "loss": 4.0, "lr": lr} for lr in (0.1, 0.2)]
    for name, row in zip(("c", "d"), rows, strict=True):
        write(tmp_path / name)
        (tmp_path / name / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    runs = [files.read(str(tmp_path / name)) for name in ("c", "d")]
    found = difference.between(*runs)
    assert found.metrics.values == ()
    said = compare.text(*runs, found)
    assert said.endswith("\nThe metrics differ at step 10 (the first compared), train: lr.")


def test_only_digests_in_common(compared):
    lines = [digests(10)]
    code, out, _ = compared({"lines": lines}, losses=(), lines=lines)
    assert code == 0
    assert "Equal: the digests of 1 step, up to step 10, the last that both have." in out


@pytest.mark.parametrize(
    ("lines", "why"),
    [((), "{}/b has none"), ([digests(9)], "the runs have no such step in common")],
)
def test_digests_that_cant_be_compared_are_mentioned(compared, tmp_path, lines, why):
    code, out, _ = compared({"lines": [digests(10)]}, lines=lines)
    assert code == 0
    assert f"\nDigests aren't compared: {why.format(tmp_path)}.\nEqual: all metrics, " in out


def test_the_gradient_comes_before_the_weights(compared):
    lines = [digests(10), digests(20), digests(30)]
    both = digests(20, gradient="2" * 16, weights="3" * 16)
    code, out, _ = compared({"lines": lines}, lines=[lines[0], both, both | {"step": 30}])
    assert code == 1
    assert (
        "The gradient differs at step 20 (equal up to step 10): conv1/kernel, logits/bias." in out
    )


def test_the_layer_of_the_weights(compared):
    one = digests(10)
    one["weights"]["logits/bias"] = "9" * 16
    code, out, _ = compared({"lines": [digests(10)]}, lines=[one])
    assert code == 1
    assert "The weights differ at step 10 (the first compared): logits/bias." in out


def test_weights_at_the_end(compared):
    code, out, _ = compared(result={**RESULT, "weights_sha256": "b" * 64})
    assert code == 1
    assert "The weights at the end differ (step 40)." in out


def test_json(compared):
    code, out, _ = compared(None, "--json", losses=(5.0,))
    found = json.loads(out)
    assert code == 1
    assert set(found) == {"equal", *compare.Difference._fields}
    assert (found["equal"], found["bits"], found["flags"]) == (False, None, {})
    assert found["metrics"] == {
        **{"step": 10, "what": "train", "names": ["loss"], "values": [4.0, 5.0]},
        "equal_until": 0,
    }


def test_a_killed_run_is_known_by_its_checkpoint(tmp_path, capsys):
    state = {"origin": {"config": {**CONFIG, "lr": 0.5}}, "identity": {"data": "f" * 64}}
    names = [write(tmp_path / "a"), write(tmp_path / "b", result=None)]
    place = tmp_path / "b/checkpoints"
    publishing.publish(place, 20, state, lambda folder: (folder / "weights").write_bytes(b"1"))
    assert compare.main(names) == 0
    assert "--lr" in capsys.readouterr().out


def test_without_result_and_checkpoint_the_flags_are_unknown(compared):
    code, out, _ = compared(result=None)
    assert code == 0
    assert "b: its flags are unknown (no result.json, no checkpoint)\n" in out


def test_a_cut_line_is_left_out_with_a_note(compared):
    code, out, err = compared(lines=[digests(10)], cut=b'{"step": 99')
    assert code == 0
    assert err.count("its last line is cut, and was left out\n") == len(err.splitlines()) == 2
    assert "up to step 40" in out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lines": [{**digests(10), "format": 7}]}, "step 10 is of format 7, this version reads 1"),
        ({"lines": [{"step": 10}]}, "step 10 is of format None, this version reads 1"),
        ({"lines": [digests(10, gradient="xyz")]}, "step 10 has no digests of its gradient"),
        ({"lines": [digests(10) | {"weights": 3}]}, "step 10 has no digests of its weights"),
        ({"lines": [digests(10) | {"weights": {}}]}, "step 10 has no digests of its weights"),
        ({"lines": [digests(10), digests(9)]}, "line 2 has no step after 10"),
        ({"lines": [[]]}, "line 1 has no step after 0"),
        ({"cut": b"\xff\n"}, "is damaged (line 5)"),
        ({"losses": (4.0, None)}, "step 20 has no split and loss"),
        ({"result": {**RESULT, "data": "e" * 64}}, "are of other data or another split"),
        ({"result": {**RESULT, "config": []}}, "it isn't a run's result"),
        ({"losses": ()}, "have no logged step in common"),
    ],
    ids=str,
)
def test_bad_files_are_one_line(compared, changes, said):
    code, out, err = compared(**changes)
    assert (code, out) == (2, "")
    assert said in err
    assert err.startswith("mnist_dist: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("names", [[], ["a"], ["a", "b", "c"], ["nowhere", "nowhere"], [".", "."]])
def test_a_wrong_command_is_one_line(names, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert compare.main(names) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_folder_in_place_of_a_file(compared, tmp_path, capsys):
    names = [write(tmp_path / "c"), write(tmp_path / "d", losses=())]
    (tmp_path / "d/digests.jsonl").mkdir()
    assert compare.main(names) == 2
    assert "can't be read (Is a directory)" in capsys.readouterr().err
