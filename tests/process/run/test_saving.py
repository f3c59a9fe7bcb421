"""When a run saves, and what of it the loop sees."""


def test_every_so_many_seconds(trainer, small):
    """At the next block's border; here each is late."""
    flags = ("--checkpoint_every_s=0.000001", "--steps_per_loop=7", "--max_steps=30")
    run = trainer(*small, *flags, "--keep_checkpoints=20")
    assert run.code == 0, run.err
    assert run.checkpoints() == [7, 14, 21, 28, 30]
    rare = trainer(*small, "--checkpoint_every_s=3600", "--max_steps=30")
    assert rare.checkpoints() == [30]
    assert trainer.weights(run.folder / "ck/ckpt-30").keys()
