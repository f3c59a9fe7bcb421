"""What the report makes of run folders: which runs, which settings, and which lead is real."""

import json
import math
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest

from mnist_dist.errors import UsageError
from mnist_dist.report.answer import answer, rankings
from mnist_dist.report.comparison import T_975, compare
from mnist_dist.report.markdown import markdown
from mnist_dist.report.runs import PARTS, SMOOTHED_FROM, Predictions, Run, read, smooth
from mnist_dist.report.settings import DASH, Setting, data_sets, settings
from mnist_dist.report.tables import (
    MINUS,
    confusion,
    flags_table,
    mistakes,
    points,
    runs_table,
    settings_table,
    unfinished_table,
)
from mnist_dist.run.owner import Owner
from tests.unit.report.run_folders import answers, lines, write


def names(paths):
    return [run.name for run in read([str(path) for path in paths])]


def test_a_run_is_found_where_it_may_be(tmp_path):
    plain = write(tmp_path / "sweep/plain")
    write(tmp_path / "sweep/slurm-7/output")
    write(tmp_path / "other/out")
    (tmp_path / "sweep/notes").mkdir()
    assert names([plain]) == ["plain"]
    assert names([tmp_path / "sweep/slurm-7"]) == ["slurm-7"]
    assert names([tmp_path / "sweep"]) == ["plain", "slurm-7"]
    assert names([tmp_path / "other"]) == ["out"]
    assert names([tmp_path / "sweep", tmp_path / "other"]) == [
        "sweep/plain", "sweep/slurm-7", "other/out"
    ]  # fmt: skip


def test_a_run_given_twice_is_read_once(tmp_path, monkeypatch):
    write(tmp_path / "sweep/a")
    write(tmp_path / "sweep/b/output")
    monkeypatch.chdir(tmp_path)
    assert names(["sweep", "sweep/a", tmp_path / "sweep/b", "sweep/b/output"]) == ["a", "b"]


def test_an_earlier_run_moved_aside_is_not_meant(tmp_path):
    """A new run has moved the old one's files and written none of its own yet."""
    write(tmp_path / "run/output/previous-1")
    with pytest.raises(UsageError):
        read([str(tmp_path / "run/output")])
    write(tmp_path / "run/output/new")
    assert names([tmp_path / "run/output"]) == ["new"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nowhere", "no such folder"),
        ("file", "a file"),
        ("empty", "(it has nothing)"),
        ("full", "(it has a, b, c, d, e, ...)"),
    ],
)
def test_a_path_without_a_run_is_refused(tmp_path, path, said):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for name in "abcdef":
        (tmp_path / "full" / name).mkdir(parents=True)
    write(tmp_path / "good")
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        read([str(tmp_path / "good"), str(tmp_path / path)])
    assert str(caught.value).startswith(f"{tmp_path / path}: ")
    assert "--output_dir" in str(caught.value)


def test_what_a_run_holds(tmp_path):
    [run] = read([str(write(tmp_path / "run", label_prediction=answers(50, 3)))])
    assert (run.unfinished, run.notes, run.step) == ("", [], 20)
    assert run.result["test_accuracy"] == 0.98
    train = run.curve("train")
    assert train["step"].tolist() == [10.0, 15.0]
    assert train["loss"].tolist() == [2.0, 1.0]
    assert train["lr"].tolist() == [0.01, 0.02]
    assert train["seconds"].tolist() == [2.0, 2.5]  # half-way between 2 s and 3 s
    assert run.curve("test")["accuracy"].tolist() == [0.6]
    assert run.curve("nothing")["seconds"].tolist() == []
    assert run.predictions.mistake_image.shape == (1, 28, 28, 1)


def unfinished(folder):
    [run] = read([str(folder)])
    return run


def test_a_run_without_a_result_is_unfinished(tmp_path):
    folder = write(tmp_path / "run")
    (folder / "result.json").unlink()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 16, "epoch": 2, "spl')  # being written, or killed
    run = unfinished(folder)
    assert run.unfinished.startswith("no result yet: its last line is younger than 10 minutes")
    assert (run.step, run.config, run.notes) == (15, {}, [])
    assert unfinished_table([run]).rows == [["run", "15", "70.00", "60.00", run.unfinished]]


def test_a_stopped_run_is_unfinished(tmp_path):
    changes = {"stopped": "preempted", "test_accuracy": None, "validation_accuracy": None}
    run = unfinished(write(tmp_path / "run", changes=changes))
    assert run.unfinished == "stopped, to go on later"
    assert run.step == 20


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"test_accuracy": "x"}, "no test_accuracy"),
        ({"class_names": "x"}, "no list of names in class_names"),
        ({"test_accuracy": 98.0}, "no accuracy within 0..1"),
        ({"steps": math.nan}, "no steps"),
        ({"config": {"seed": "x", "optimizer": "sgd"}}, "no config with seed"),
        ({"config": {}}, "no config with seed"),
        ({"config": {"seed": 0, "optimizer": "sgd", "lr": [[0.1]]}}, "no config of flags"),
        ({"config": {"seed": 0, "optimizer": "sgd", "lr": {}}}, "no config of flags"),
        ({"versions": [1]}, "no plain values in versions"),
        ({"data": 5}, "no text in stopped or data"),
        ({"epochs": -1.0}, "no counts from 0"),
    ],
)
def test_a_damaged_result_is_said_and_not_counted(tmp_path, changes, said):
    run = unfinished(write(tmp_path / "run", changes=changes))
    assert run.unfinished.startswith("result.json is damaged (")
    assert said in run.unfinished
    assert run.result == {}


@pytest.mark.parametrize("text", ["{", "[]", '{"config": {}}', "", "\xff"])
def test_a_result_that_is_none_is_said_and_not_counted(tmp_path, text):
    folder = write(tmp_path / "run")
    (folder / "result.json").write_bytes(text.encode("latin-1"))
    run = unfinished(folder)
    assert run.unfinished.startswith("result.json is damaged (")
    assert run.result == {}


def test_damaged_lines_and_predictions_are_noted(tmp_path):
    folder = write(tmp_path / "run", label_prediction=answers(50, 3))
    path = folder / "metrics.jsonl"
    good = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*good[:2], b'{"step": 1}\n', good[2], b"[]\n", *good[3:]]))
    lines(folder / "times.jsonl", [{"step": 10, "seconds": "x"}])
    data = (folder / "predictions.npz").read_bytes()
    (folder / "predictions.npz").write_bytes(data[: len(data) // 2])
    run = unfinished(folder)
    assert not run.unfinished
    assert len(run.records) == 4
    assert run.predictions is None
    assert run.notes == [
        "metrics.jsonl is damaged at line 3 and 1 more, left out",
        "times.jsonl is damaged at line 1, left out",
        "predictions.npz: damaged (File is not a zip file); fetch the file again",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("label", np.zeros((50, 1), int)),
        ("label", np.full(50, 1000)),
        ("prediction", np.zeros(49, int)),
        ("prediction", np.full(50, 0.5)),
        ("loss", np.zeros(1)),
        ("mistake_index", np.array([50])),
        ("mistake_index", np.array([-1])),
        ("mistake_index", np.array([1, 2])),
        ("mistake_image", np.zeros((1, 28, 28, 2), np.uint8)),
        ("mistake_image", np.zeros((1, 28, 28, 1))),
        ("mistake_image", np.zeros((1, 0, 28, 1), np.uint8)),
        ("mistake_image", np.zeros((1, 28, 2000, 1), np.uint8)),
        ("mistake_image", np.zeros((1, 28, 28), np.uint8)),
    ],
)
def test_predictions_that_do_not_fit_are_left_out(tmp_path, name, value):
    folder = write(tmp_path / "run", label_prediction=answers(50, 3))
    with np.load(folder / "predictions.npz") as found:
        arrays = {**found, name: value}
    np.savez(folder / "predictions.npz", **arrays)
    run = unfinished(folder)
    assert run.predictions is None
    assert run.notes == ["predictions.npz is damaged: its arrays don't fit together"]


def test_predictions_of_another_result_are_left_out(tmp_path):
    folder = write(tmp_path / "run", label_prediction=answers(50, 3))
    other = write(tmp_path / "other", label_prediction=answers(50, 3, 4))
    (other / "predictions.npz").rename(folder / "predictions.npz")
    run = unfinished(folder)
    assert run.predictions is None
    assert run.notes == ["predictions.npz isn't of the result beside it"]


def grouped(tmp_path, *runs):
    """The settings of runs, each given by its flags (and what else write takes)."""
    for number, run in enumerate(runs):
        write(tmp_path / f"run-{number}", **run)
    return settings(read([str(tmp_path)]))


def test_runs_that_differ_in_seed_and_places_are_one_setting(tmp_path):
    found = grouped(
        tmp_path,
        {"seed": 0, "test": 0.97, "validation": 0.96},
        {"seed": 1, "test": 0.98, "output_dir": "/y", "gpus": "1", "log_interval": 5},
        {"seed": 2, "test": 0.99, "data_dir": "/elsewhere", "checkpoint_dir": "/z"},
    )
    [one] = found
    assert one.flags == {}
    assert one.name == "momentum, lr 0.01"
    assert one.mean == pytest.approx(0.98)
    assert one.deviation == pytest.approx(0.01)  # of 0.97, 0.98, 0.99
    assert one.binomial == pytest.approx(0.0014)  # sqrt(0.98 * 0.02 / 10,000)
    table = runs_table(found)
    assert table.head[-2:] == ["gpus", "log_interval"]  # they differ, and are no places
    assert [row[-2:] for row in table.rows] == [["none", "10"], ["1", "5"], ["none", "10"]]


def test_a_seed_run_twice_counts_once(tmp_path):
    [one] = grouped(
        tmp_path, {"seed": 0, "test": 0.97}, {"seed": 0, "test": 0.99}, {"seed": 1, "test": 0.96}
    )
    assert one.test.tolist() == pytest.approx([0.98, 0.96])
    assert one.mean == pytest.approx(0.97)
    assert one.deviation == pytest.approx(math.sqrt(2 * 0.01**2))
    assert len(one.runs) == 3


def test_settings_of_many_flags_are_named_by_their_runs(tmp_path):
    """As recipes are; the flags have a table of their own."""
    recipe = {"optimizer": "adam", "lr": 0.1, "residual": True, "dropout": 0.1, "epochs": 3}
    write(tmp_path / "notebook", validation=0.9)
    for name, seed in (("fast", 0), ("fast-1", 1)):
        write(tmp_path / name, seed=seed, **recipe)
    found = settings(read([str(tmp_path)]))
    assert [setting.name for setting in found] == ["fast and 1 more", "notebook"]
    assert answer(found).headline.startswith("fast and 1 more was best: ")
    assert settings_table(found).head[:3] == ["#", "run", "seeds"]
    table = flags_table(found)
    assert table.head == ["flag", "#1", "#2"]
    assert {"optimizer", *recipe} <= {row[0] for row in table.rows}
    assert ["epochs", "3", "10"] in table.rows
    ranked = rankings(found[0].runs + found[1].runs)
    shown = markdown(ranked, found[0].runs + found[1].runs)
    assert "| epochs " in shown


def test_only_the_flags_that_differ_are_shown(tmp_path, monkeypatch):
    monkeypatch.setattr("mnist_dist.report.settings.MOST_FLAGS", 6)
    found = grouped(
        tmp_path,
        {"optimizer": "adam", "lr": 0.001, "validation": 0.99, "momentum": 0.7, "beta_2": 0.99},
        {"optimizer": "nesterov", "momentum": 0.9, "validation": 0.98, "residual": True},
        {"validation": 0.97, "conv_filters": [], "changes": {"num_replicas": 4}},
    )
    assert [setting.name for setting in found] == [
        "adam, lr 0.001, conv_filters 32,64, replicas 1",
        "nesterov, lr 0.01, momentum 0.9, conv_filters 32,64, residual, replicas 1",
        "momentum, lr 0.01, momentum 0.5, conv_filters none, replicas 4",
    ]
    table = settings_table(found)
    # adam alone reads beta_2 and doesn't read momentum, and workers is 1 in all.
    assert table.head[:8] == [
        "#", "optimizer", "lr", "momentum", "conv_filters", "residual", "replicas", "seeds"
    ]  # fmt: skip
    assert [row[:7] for row in table.rows] == [
        ["1", "adam", "0.001", DASH, "32,64", "off", "1"],
        ["2", "nesterov", "0.01", "0.9", "32,64", "on", "1"],
        ["3", "momentum", "0.01", "0.5", "none", "off", "4"],
    ]
    assert [table.numeric(column) for column in range(7)] == [
        True,
        False,
        True,
        True,
        *[False] * 2,
        True,
    ]


def test_a_flag_that_the_optimizer_does_not_read_makes_no_setting(tmp_path):
    found = grouped(
        tmp_path,
        {"optimizer": "adam", "momentum": 0.5, "seed": 0},
        {"optimizer": "adam", "momentum": 0.9, "seed": 1},
    )
    assert [len(setting.runs) for setting in found] == [2]


def test_the_best_is_by_validation_where_all_have_it(tmp_path):
    runs = (
        {"lr": 0.1, "validation": 0.97, "test": 0.99},
        {"lr": 0.2, "validation": 0.98, "test": 0.96, "seed": 0},
        {"lr": 0.2, "validation": 0.99, "test": 0.97, "seed": 1},
    )
    best, other = grouped(tmp_path / "all", *runs)
    assert (best.name, other.name) == ("lr 0.2", "lr 0.1")
    assert best.validation.tolist() == [0.98, 0.99]
    assert best.best_run.config["seed"] == 1
    best, *_, last = grouped(
        tmp_path / "some", *runs, {"lr": 0.3, "validation": None, "test": 0.95}
    )
    assert (best.name, last.name) == ("lr 0.1", "lr 0.3")
    assert last.validation.size == 0


def test_runs_on_different_data_are_never_ranked_together(tmp_path):
    """The fingerprint tells them apart, where the same flags and the same labels don't."""
    for number, data in enumerate(("a" * 32, "b" * 32, "a" * 32)):
        changes = {"data": data}
        accuracy = 0.9 + 0.01 * number
        write(tmp_path / f"{number}", lr=accuracy, test=accuracy, changes=changes)
    first, second = rankings(read([str(tmp_path)]))
    assert [[run.name for s in r.settings for run in s.runs] for r in (first, second)] == [
        ["2", "0"], ["1"]
    ]  # fmt: skip
    assert first.data == "/data, fingerprint aaaaaaaa"
    assert first.answer.headline.startswith("lr 0.92 was best")
    assert second.answer.verdict.startswith("There is no other setting here.")


def test_another_split_of_the_same_data_is_ranked_with_it(tmp_path):
    """The fingerprint covers the split; then the place, the name and the test labels tell."""
    label, prediction = answers(50, 1)
    same = {"label_prediction": (label, prediction)}
    other = {"label_prediction": (label[::-1], prediction[::-1])}
    for name, changes, kinds in (
        ("a", {"data": "a"}, same),
        ("b", {"data": "b"}, {**same, "validation_size": 0, "validation": None}),
        ("c", {"data": "c"}, {**same, "validation_size": 9, "data_dir": "/elsewhere"}),
        ("d", {"data": "d"}, {**other, "validation_size": 9}),
        ("e", {"data": "e"}, {**same, "validation_size": 9, "dataset": "kmnist"}),
        ("f", {"data": ""}, same),  # of an early version
    ):
        write(tmp_path / name, changes=changes, **kinds)
    sets = data_sets(read([str(tmp_path)]))
    assert [[run.name for run in one] for one in sets] == [["a", "b", "f"], ["c"], ["d"], ["e"]]


def test_validation_sets_of_different_size_rank_nothing(tmp_path):
    found = grouped(
        tmp_path,
        {"lr": 0.1, "validation": 0.99, "test": 0.95, "changes": {"data": "a"}},
        {"lr": 0.2, "validation": 0.97, "test": 0.98, "changes": {"data": "b"},
         "validation_size": 99},
    )  # fmt: skip
    assert answer(found).headline.startswith("validation_size 99, lr 0.2 was best: 98.00 %")
    assert "not every run has held out the same images" in answer(found).how[1]


def setting(*accuracies, examples=10_000, wrong=None, lr=0.1, epochs=2.0):
    """A setting with a seed for each accuracy, or for each list of wrong images."""
    runs, tested = [], list(accuracies)
    for seed, missed in enumerate(wrong or [None] * len(tested)):
        predictions = None
        if missed is not None:
            label, prediction = answers(examples, *missed)
            nothing = np.zeros(0)
            predictions = Predictions(label, prediction, nothing, nothing, nothing)
            tested.append(1.0 - len(missed) / examples)
        result = {
            "config": {"seed": seed, "optimizer": "sgd"},
            "test_accuracy": tested[-1],
            "validation_accuracy": 0.9,
            "epochs": epochs,
            "steps": int(860 * epochs),
        }
        runs.append(Run("", Path(), result, [], np.zeros((0, 2)), predictions, "", []))
    return Setting({"lr": lr}, runs, np.array(tested), np.full(len(tested), 0.9), examples)


def test_one_seed_each_is_judged_by_the_pairs_of_answers():
    """12 images only the first has right, 2 only the other: McNemar's (12-2-1)/sqrt(14) = 2.41."""
    one = setting(examples=100, wrong=[[0, 1]])
    other = setting(examples=100, wrong=[range(10, 22)])
    judged = compare(one, other)
    assert judged.lead == pytest.approx(0.10)
    assert judged.error == pytest.approx(math.sqrt((0.14 - 0.10**2) / 100))
    assert judged.paired
    assert judged.seed_error is None
    assert judged.needed == 1.96
    assert judged.ratio == pytest.approx(0.09 / math.sqrt(0.13 / 100))  # 2.50
    assert judged.real
    assert compare(other, one).lead == pytest.approx(-0.10)
    assert compare(other, one).real


def test_few_pairs_are_not_real():
    """4 to 0: the exact test gives 2 * 0.5**4 = 0.125, though 4/sqrt(4) = 2 is over 1.96."""
    judged = compare(setting(examples=100, wrong=[[]]), setting(examples=100, wrong=[[1, 2, 3, 4]]))
    assert judged.lead / judged.error > 1.96
    assert not judged.real
    many = compare(setting(examples=100, wrong=[[]]), setting(examples=100, wrong=[range(7)]))
    assert many.real  # 2 * 0.5**7 = 0.016


def test_without_predictions_the_errors_are_binomial():
    judged = compare(setting(0.99), setting(0.985))
    assert not judged.paired
    assert judged.error == pytest.approx(math.sqrt(0.99 * 0.01 / 10_000 + 0.985 * 0.015 / 10_000))
    assert judged.ratio == pytest.approx((0.005 - 0.0001) / 0.0015708, rel=1e-4)
    assert judged.real


def test_seeds_are_judged_by_students_t():
    """More than twice its standard error, and two seeds each say too little of that."""
    judged = compare(setting(0.98, 0.99), setting(0.95, 0.97))
    seeds = 5e-5 / 2 + 2e-4 / 2  # variances of (0.98, 0.99) and (0.95, 0.97)
    images = (0.985 * 0.015 + 0.96 * 0.04) / 10_000
    assert judged.seed_error == pytest.approx(math.sqrt(seeds))
    assert judged.image_error == pytest.approx(math.sqrt(images))
    assert judged.error == pytest.approx(math.sqrt(seeds + images))
    assert judged.ratio == pytest.approx((0.025 - 0.0001) / math.sqrt(seeds + images))
    # (1.303e-4)**2 / (2.5e-5**2 + 1e-4**2) = 1.6 degrees of freedom: those of one.
    assert judged.needed == 12.706
    assert not judged.real


def test_clear_leads_over_seeds_are_real():
    judged = compare(setting(0.990, 0.991, 0.992), setting(0.960, 0.961, 0.962))
    assert judged.real
    assert judged.seed_error == pytest.approx(math.sqrt(2 * 1e-6 / 3))


def test_seeds_that_agree_do_not_make_a_lead_real():
    judged = compare(setting(0.981, 0.981, 0.981), setting(0.980, 0.980, 0.980))
    assert judged.seed_error == 0.0
    assert judged.error == pytest.approx(math.sqrt((0.981 * 0.019 + 0.98 * 0.02) / 10_000))
    assert not judged.real


def test_a_single_seed_is_taken_to_vary_as_the_other_setting():
    judged = compare(setting(0.99), setting(0.95, 0.97))
    assert judged.seed_error == pytest.approx(math.sqrt(2e-4 * (1 + 1 / 2)))
    assert judged.needed == 12.706


def test_the_answers_of_seeds_are_averaged_before_they_are_paired():
    one = setting(examples=4, wrong=[[0], [0, 1]])  # right: 0, 1/2, 1, 1
    other = setting(examples=4, wrong=[[0, 1], [0, 1, 2]])  # right: 0, 0, 1/2, 1
    judged = compare(one, other)
    assert judged.lead == pytest.approx(0.25)
    assert judged.image_error == pytest.approx(math.sqrt(0.0625 / 4))  # of 0, 1/2, 1/2, 0


def test_the_table_of_students_t():
    """Each holds 95 % of the distribution, which is integrated here."""
    for freedom, t in enumerate(T_975, 1):
        x = np.linspace(-t, t, 200_001)
        scale = (
            math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2) / math.sqrt(freedom * math.pi)
        )
        density = scale * (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
        assert np.trapezoid(density, x) == pytest.approx(0.95, abs=1e-4)


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_chance_is_seldom_called_real(seeds):
    """Two settings that are the same, 2,000 times over: at most 5 % may pass."""
    random = np.random.default_rng(0)
    varies = 0.002 if seeds > 1 else 0.0  # one seed can't tell

    def drawn():
        rates = 0.98 + varies * random.standard_normal(seeds)
        return setting(*random.binomial(10_000, rates) / 10_000)

    real = sum(compare(drawn(), drawn()).real for _ in range(2000))
    assert real <= 0.05 * 2000


def judged(*found):
    """The answer on settings that were run on the same data."""
    return answer(found)


A, B, C = 0.1, 0.2, 0.3


def test_a_real_lead_is_said_with_its_size():
    said = judged(setting(0.990, 0.991, 0.992, lr=A), setting(0.960, 0.961, 0.962, lr=B))
    assert said.headline == "lr 0.1 was best: 99.10 % ± 0.10 on the test set."
    assert said.badge == "a real lead"
    assert said.verdict.startswith(
        "Its lead of 3.00 points over the second, lr 0.2, is significant: "
    )
    assert "deviation over 3 seeds" in said.how[0]
    assert "by validation accuracy" in said.how[1]


def test_training_length_stands_beside_the_verdict():
    many, few = (0.990, 0.991, 0.992), (0.960, 0.961, 0.962)
    said = judged(setting(*many, lr=A), setting(*few, lr=B))
    assert said.badge == "a real lead"
    assert said.verdict.endswith(" Both were trained for 2 epochs (1,720 steps).")
    said = judged(setting(*many, lr=A, epochs=10.0), setting(*few, lr=B, epochs=1.0))
    assert said.badge == "a real lead, trained longer"
    assert said.verdict.endswith(
        " It was trained for 10 epochs (8,600 steps), the second for 1 epoch (860 steps): "
        "which alone may make the difference."
    )
    assert "a lead may then be that of longer training" in said.how[-1]
    said = judged(setting(*many, lr=A, epochs=1.0), setting(*few, lr=B, epochs=1.5))
    assert said.badge == "a real lead, trained for less"
    assert "the second for 1.5 epochs (1,290 steps): the second for more." in said.verdict
    tie = judged(setting(0.98, 0.99, lr=A), setting(0.95, 0.97, lr=B, epochs=4.0))
    assert tie.badge == "a tie"
    assert "the second for 4 epochs" in tie.verdict
    third = judged(setting(*many, lr=A), setting(*few, lr=B), setting(*few, lr=C, epochs=3.0))
    assert third.badge == "a real lead"
    assert "a lead may then be that of longer training" in third.how[-1]


def test_the_table_says_who_was_trained_longer(tmp_path):
    kinds = [("test", 0.99), ("test", 0.98), ("test", 0.97)]
    changes = ({}, {"epochs": 3.0}, {"epochs": 1.0})
    found = grouped(
        tmp_path,
        *(
            {"lr": 0.1 + n, name: value, "changes": c}
            for n, ((name, value), c) in enumerate(zip(kinds, changes, strict=True))
        ),
    )
    table = settings_table(found)
    rows = [dict(zip(table.head, row, strict=True)) for row in table.rows]
    assert [row["trained, epochs"] for row in rows] == ["2", "3", "1"]
    assert [row["significant"] for row in rows] == [
        DASH, "these runs, trained longer", "these runs, trained for less"
    ]  # fmt: skip


def test_a_tie_is_said_plainly():
    said = judged(setting(0.98, 0.99, lr=A), setting(0.95, 0.97, lr=B))
    assert said.badge == "a tie"
    assert "isn't significant: 2.18 standard errors, 12.71 are needed" in said.verdict
    same = judged(setting(0.98, lr=A), setting(0.98, lr=B))
    assert same.badge == "a tie"
    assert same.verdict.startswith("It ties with the second, lr 0.2: the same test accuracy. ")


def test_one_seed_is_never_called_real_without_a_word():
    said = judged(setting(0.99, lr=A), setting(0.95, lr=B))
    assert said.badge == "real for these two runs"
    assert "With one seed each, it may not hold for other seeds" in said.verdict
    assert "binomial standard error, one seed" in said.how[0]
    mixed = judged(setting(0.99, lr=A), setting(0.800, 0.801, lr=B))
    assert mixed.badge == "a real lead, likely"
    assert "if the setting with a single seed varies like the other" in mixed.verdict


def test_the_test_set_may_contradict_the_choice():
    said = judged(setting(0.960, 0.961, 0.962, lr=A), setting(0.990, 0.991, 0.992, lr=B))
    assert said.badge == "contradicted by the test"
    assert "But on the test set the second, lr 0.2, is 3.00 points better" in said.verdict
    assert "The highest test accuracy is that of lr 0.2, 99.10 %" in said.how[2]
    near = judged(setting(0.980, 0.981, lr=A), setting(0.981, 0.982, lr=B))
    assert near.badge == "a tie"
    assert "0.10 points better, not significantly" in near.verdict


def test_further_settings_weaken_the_verdict():
    best = setting(0.990, 0.991, 0.992, lr=A)
    worse, wide = setting(0.960, 0.961, 0.962, lr=B), setting(0.99, 0.90, lr=C)
    assert judged(best, worse, wide).badge == "not significant against all"
    assert judged(best, worse, wide).verdict.endswith("But its lead over #3 isn't significant.")
    better = setting(0.9985, 0.9986, 0.9987, lr=C)
    assert judged(best, worse, better).badge == "contradicted by the test"


def test_a_choice_on_the_test_set_is_called_one(tmp_path):
    found = grouped(tmp_path, {"lr": 0.1, "validation": None}, {"lr": 0.2, "test": 0.5})
    said = answer(found)
    assert said.headline.startswith("lr 0.1 was best")
    assert "by test accuracy" in said.how[1]
    assert "overestimates" in said.how[1]


def test_one_setting_is_no_comparison(tmp_path):
    found = grouped(tmp_path, {"seed": 0, "test": 0.97}, {"seed": 1, "test": 0.98})
    said = answer(found)
    assert said.headline == "momentum, lr 0.01: 97.50 % ± 0.71 on the test set."
    assert said.badge == ""


def test_the_table_says_where_only_the_runs_differ(tmp_path):
    found = grouped(tmp_path, {"lr": 0.1, "test": 0.99}, {"lr": 0.2, "test": 0.95})
    table = settings_table(found)
    assert [row[table.head.index("significant")] for row in table.rows] == [DASH, "these runs"]


def test_the_settings_table(tmp_path):
    found = grouped(
        tmp_path,
        {"lr": 0.1, "seed": 0, "test": 0.9901, "validation": 0.98},
        {"lr": 0.1, "seed": 1, "test": 0.9899, "validation": 0.99},
        {
            "lr": 0.2,
            "seed": 0,
            "test": 0.97,
            "validation": 0.97,
            "changes": {"stopped": "patience"},
        },
    )
    table = settings_table(found)
    assert dict(zip(table.head, table.rows[0], strict=True)) == {
        "#": "1", "lr": "0.1", "seeds": "2", "validation, %": "98.50", "test, %": "99.00",
        "deviation": "0.01", "binomial s.e.": "0.10", "lead over #1": DASH, "significant": DASH,
        "trained, epochs": "2", "parameters": "1,234,567", "training, s": "2.0",
        "stopped": "completed",
    }  # fmt: skip
    row = dict(zip(table.head, table.rows[1], strict=True))
    assert (row["seeds"], row["deviation"], row["stopped"]) == ("1", DASH, "patience")
    # The seed's variance is 2e-8, here taken 1.5 times; the images' 0.99*0.01 and 0.97*0.03.
    error = math.sqrt(1.5 * 2e-8 + (0.99 * 0.01 + 0.97 * 0.03) / 10_000)
    assert row["lead over #1"] == f"{MINUS}2.00 ± {100 * error:.2f}"
    assert row["significant"] == "yes"
    assert table.settings == [0, 1]


def test_small_points_keep_a_digit():
    assert [points(0.0), points(0.0123), points(0.00004), points(-0.001, "+")] == [
        "0.00", "1.23", "0.004", f"{MINUS}0.10"
    ]  # fmt: skip


def test_the_confusion_matrix():
    label, prediction = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 0, 2])
    nothing = np.zeros(0)
    predictions = Predictions(label, prediction, nothing, nothing, nothing)
    assert confusion(predictions).tolist() == [[1, 1, 0], [0, 1, 0], [2, 0, 1]]
    assert mistakes(predictions, "012") == (
        "3 of 6 test images are predicted wrongly; most often 2 taken for 0 (2), 0 taken for 1 (1)."
    )


def test_smoothing():
    """Each point is the mean with its two neighbours on either side, where there are some."""
    spikes = np.zeros(SMOOTHED_FROM)
    spikes[[0, 4]] = 6.0, 12.0
    x, y = smooth(np.arange(1.0, SMOOTHED_FROM + 1), spikes)
    assert x.tolist() == list(range(1, SMOOTHED_FROM + 1))
    assert y[:6].tolist() == pytest.approx([2.0, 1.5, 3.6, 2.4, 2.4, 2.4])
    x, y = smooth(np.arange(10.0 * PARTS), np.arange(10.0 * PARTS))
    assert len(x) == len(y) == PARTS
    assert x[:2].tolist() == [4.5, 14.5]
    assert y[2:-2].tolist() == pytest.approx(x[2:-2].tolist())  # a straight line stays one


@pytest.mark.parametrize("points_", [1, 3, SMOOTHED_FROM - 1])
def test_few_points_are_not_smoothed(points_):
    """The mean of three points, thrice, would be a flat line."""
    x, y = np.arange(float(points_)), np.arange(float(points_)) ** 2
    assert [a.tolist() for a in smooth(x, y)] == [x.tolist(), y.tolist()]


def touch(path, age_s, text=""):
    path.write_text(text)
    os.utime(path, (time.time() - age_s, time.time() - age_s))


def test_still_going_is_told_from_killed(tmp_path):
    """By the lock that a run rewrites; the one of the highest number is the run's."""
    folder = write(tmp_path / "run")
    (folder / "result.json").unlink()
    owner = '{"job": "%s", "host": "n1", "pid": 12}'
    touch(folder / "run-9.lock", 3000.0, owner % "")
    touch(folder / "run-10.lock", 3.0, owner % "77")
    assert unfinished(folder).unfinished == "still going (job 77, host n1, process 12)"
    touch(folder / "run-10.lock", 86400.0, owner % "")
    said = unfinished(folder).unfinished
    assert re.fullmatch(
        r"killed \(host n1, process 12\): no sign of life since 20\d\d-\d\d-\d\d \d\d:\d\d UTC",
        said,
    )
    touch(folder / "run-10.lock", 3.0, "[" * 9000)
    assert unfinished(folder).unfinished == "still going (its lock can't be read)"


def test_a_process_of_this_machine_that_is_gone_was_killed(tmp_path):
    """Though its lock is fresh; one that is there is not."""
    folder = write(tmp_path / "run")
    (folder / "result.json").unlink()
    owner = Owner.this_process()
    touch(folder / "run-1.lock", 3.0, json.dumps(owner._asdict()))
    assert unfinished(folder).unfinished == f"still going ({owner})"
    gone = owner._replace(started="1")  # a process of that number, but not the one
    touch(folder / "run-1.lock", 3.0, json.dumps(gone._asdict()))
    assert unfinished(folder).unfinished == f"killed ({owner}): that process isn't there any more"
    for pid in (-1, 0, 10**40):  # it is no number of a process
        touch(folder / "run-1.lock", 3.0, json.dumps(gone._replace(pid=pid)._asdict()))
        assert unfinished(folder).unfinished.startswith("still going")


def test_without_a_lock_the_last_line_tells(tmp_path):
    folder = write(tmp_path / "run")
    (folder / "result.json").unlink()
    assert "so it may be still going" in unfinished(folder).unfinished
    for name in ("metrics.jsonl", "times.jsonl"):
        os.utime(folder / name, (0, 60))
    assert unfinished(folder).unfinished == (
        "no result: killed or failed, it seems, as nothing was written since 1970-01-01 00:01 UTC"
    )


def test_a_run_dir_and_a_folder_of_checkpoints_are_runs(tmp_path):
    write(tmp_path / "sweep/a")
    (tmp_path / "sweep/a/checkpoints/ckpt-20").mkdir(parents=True)
    write(tmp_path / "sweep/b/checkpoints")
    (tmp_path / "sweep/b/checkpoints/ckpt-20").mkdir()
    assert names([tmp_path / "sweep"]) == ["a", "b"]
    assert names([tmp_path / "sweep/b/checkpoints"]) == ["b"]
    assert names([tmp_path / "sweep/b"]) == ["b"]
