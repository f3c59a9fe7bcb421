"""Which files of a folder are read as pictures."""

import os

from mnist_dist.use import picture_files


def test_a_fifo_is_named_and_not_opened(tmp_path):
    """Reading it would wait for ever."""
    os.mkfifo(tmp_path / "p.png")
    (tmp_path / "a.png").write_bytes(b"")
    found = picture_files.find([str(tmp_path)])
    assert found.paths == [tmp_path / "a.png"]
    assert found.others == {str(tmp_path / "p.png"): "isn't a regular file"}
