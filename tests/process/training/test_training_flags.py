"""Each flag of the optimizer, the network and the augmentation reaches the training, and its step.

What a flag does is worked out by hand elsewhere; here the command line is compared with and
without it, over three steps on real images.
"""

import pytest

STEPS = 3
NOTHING = ("--dropout=0",)


@pytest.fixture(scope="module")
def base(trainer, small):
    return losses_and_score(trainer, small)


def losses_and_score(trainer, small, *flags):
    """Of each step, and the validation loss after the last."""
    interval = (f"--max_steps={STEPS}", "--log_interval=1", "--lr=0.1", *NOTHING)
    run = trainer(*small, *interval, *flags)
    assert run.code == 0, run.err
    losses = run.losses()
    assert list(losses) == [1, 2, 3]
    return [*losses.values(), run.result()["validation_loss"]]


@pytest.mark.parametrize(
    ("flags", "first_change"),
    [
        # Step 1 already: the network, the images or the loss differ.
        (["--dropout=0.3"], 0),
        (["--batch_norm"], 0),
        (["--residual"], 0),
        (["--conv_filters=3"], 0),
        (["--kernel_size=3"], 0),
        (["--dense_units=8,8"], 0),
        (["--dense_units="], 0),
        (["--shift_px=2"], 0),
        (["--rotate_deg=20"], 0),
        (["--zoom=0.2"], 0),
        (["--label_smoothing=0.1"], 0),
        (["--seed=1"], 0),
        # After an update: the rule, its rate or the gradient differ.
        (["--optimizer=adam"], 1),
        (["--optimizer=nesterov"], 1),
        (["--weight_decay=0.5"], 1),
        (["--clip_norm=0.1"], 1),
        (["--warmup_steps=10"], 1),
        (["--schedule=onecycle"], 1),
        # After two: the first velocity is the gradient.
        (["--momentum=0.9"], 2),
        # The averaged weights are only scored.
        (["--ema=0.9"], 3),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_it_changes_the_curve_from_its_step_on(trainer, small, base, flags, first_change):
    found = losses_and_score(trainer, small, *flags)
    same = [a == pytest.approx(b, rel=3e-7) for a, b in zip(found, base, strict=True)]
    assert same == [True] * first_change + [False] * (4 - first_change)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--conv_filters=8,8,8"], "--conv_filters=8,8,8: convolution 3 gets a feature map of 4x4"),
        (["--conv_filters=8,x"], "--conv_filters=8,x: give whole numbers with commas between"),
        (["--dense_units=0"], "--dense_units=0"),
        (["--dropout=1"], "--dropout=1.0"),
        (["--optimizer=sgdm"], "--optimizer=sgdm: allowed are"),
        (["--schedule=linear"], "--schedule=linear: allowed are"),
        (["--ema=1"], "--ema=1.0"),
        (["--label_smoothing=1"], "--label_smoothing=1.0"),
        (["--clip_norm=-1"], "--clip_norm=-1.0"),
        (["--zoom=1"], "--zoom=1.0"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_bad_values_are_refused(trainer, small, flags, words):
    assert words in trainer(*small, *flags).refused()


def test_describe_prints_the_network_and_leaves_nothing(trainer, tmp_path):
    """The whole notebook network, without training: 1,111,946 parameters, 9.593 MFLOP."""
    run = trainer("--no_gpu", "--describe", folder=tmp_path / "run")
    assert (run.code, run.err) == (0, "")
    rows = [line.split() for line in run.out.splitlines()]
    assert rows[0] == ["layer", "output", "parameters", "MFLOP"]
    assert rows[-1] == ["total", "1,111,946", "9.593"]
    assert list(run.folder.rglob("*")) == []
