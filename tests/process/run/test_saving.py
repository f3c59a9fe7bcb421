"""When a run saves, and that each byte of what it saves counts."""

import random
import re
import shutil

import pytest

from mnist_dist.run import store


@pytest.fixture(scope="module")
def often(trainer, small):
    flags = ("--checkpoint_every_s=0.000001", "--steps_per_loop=7", "--max_steps=30")
    run = trainer(*small, *flags, "--keep_checkpoints=20")
    assert run.code == 0, run.err
    return run


def test_every_so_many_seconds(trainer, small, often):
    """At the next block's border; here each is late."""
    assert often.checkpoints() == [7, 14, 21, 28, 30]
    rare = trainer(*small, "--checkpoint_every_s=3600", "--max_steps=30")
    assert rare.checkpoints() == [30]


def test_a_run_killed_between_its_last_save_and_pruning(trainer, small, often, tmp_path):
    """The next start finds it finished, and deletes what is no longer kept."""
    for part in ("ck", "out"):
        shutil.copytree(often.folder / part, tmp_path / part)
    again = trainer(*small, "--max_steps=30", "--keep_checkpoints=2", folder=tmp_path)
    assert "This run is finished" in again.out
    assert again.checkpoints() == [28, 30]


def test_a_save_that_takes_longer_than_the_schedulers_lead(trainer, small):
    """On standard error, once, though each save does."""
    flags = ("--checkpoint_every_steps=10", "--steps_per_loop=5", "--max_steps=40")
    run = trainer(*small, *flags, "--stop_lead_s=0.001")
    assert run.code == 0
    form = r"mnist_dist: Stopping takes \d.* by --stop_lead_s: .* --stop_lead_s=\d+\)\.\n"
    assert re.fullmatch(form, run.err)


def test_each_byte_of_a_real_checkpoint_counts(often, tmp_path):
    """All bits of the small files, a bit of each byte of the weights."""
    path = tmp_path / "ckpt-30"
    shutil.copytree(often.folder / "ck/ckpt-30", path)
    names = {file.name: file.stat().st_size for file in path.iterdir()}
    assert set(names) == {"state.json", "weights.index", "weights.data-00000-of-00001"}
    draw = random.Random(0)
    for name, size in names.items():
        with (path / name).open("r+b", buffering=0) as file:
            data = file.read()
            for place in range(size):
                whole = "data" not in name
                for bit in range(8) if whole else [draw.randrange(8)]:
                    file.seek(place)
                    file.write(bytes([data[place] ^ 1 << bit]))
                    with pytest.raises(ValueError, match=f"its file {name} is damaged"):
                        store.read(path)
                file.seek(place)
                file.write(data[place : place + 1])
    assert store.read(path).step == 30
