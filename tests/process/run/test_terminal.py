"""The progress bar, on a pseudo-terminal as a user has one; beside the notebook's lines."""

import re

from tests.process.trainer import ROOT, TRAIN, environment, folders
from tests.terminal import on_a_terminal, shown


def train(*flags):
    text, _, code = on_a_terminal([*TRAIN, *flags], cwd=ROOT, env=environment())
    return text, code


def test_the_bar(tmp_path, small):
    text, code = train(*small, "--epochs=2", *folders(tmp_path))
    assert code == 0, text
    lines = shown(text)
    heads = [f"Batch #{batch}\tLoss: " for batch in (0, 10, 20, 30)]
    heads += ["Train time for epoch #", "Validation set: ", "Test set: "]
    assert sum(line.startswith(tuple(heads)) for line in lines) == 2 * 7
    assert not [line for line in lines if "|" in line or " left" in line], "a bar is left"

    drawn = [part.strip() for part in re.split(r"[\r\n]+", text)]
    for stage in ("reading the data", "importing TensorFlow", "building the network"):
        assert stage in drawn
    bars = [part for part in drawn if part.startswith("step ")]
    form = r"step (\d+)/80 \|[█▉▊▋▌▍▎▏ ]{20}\|(.*)"
    found = [re.fullmatch(form, bar) for bar in bars]
    assert all(found), bars
    steps = [int(bar[1]) for bar in found]
    assert steps[0] == 0
    assert steps[-1] == 80
    assert steps == sorted(steps)
    training = r", loss \d\.\d{4}(, [\d,]+ images/s(, \d\d:\d\d left)?)?"
    beside = r", (compiling the first block|evaluating (validation|test)|saving)( \d+ s)?"
    beside += r"(, \d\d:\d\d left)?"
    assert all(re.fullmatch(f"{training}|{beside}", bar[2]) for bar in found), bars
    for what in ("compiling the first block", "evaluating validation", "evaluating test", "saving"):
        assert any(what in bar for bar in bars), what
    assert "00:00 left" not in text


def test_an_error_takes_the_bar_away(tmp_path, small):
    text, code = train(*small, "--lr=1e9", *folders(tmp_path))
    assert code == 1, text
    assert "step 0/400 |" in text
    lines = [line for line in shown(text) if line.strip()]
    number = next(n for n, line in enumerate(lines) if line.startswith("mnist_dist: worker 0 "))
    assert " ".join(lines[number:]).endswith("lower --lr, or warm it up with --warmup_steps")
