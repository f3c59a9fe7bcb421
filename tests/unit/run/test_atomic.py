"""Files are replaced in one step: the contents are on the disk before the name is theirs."""

import os

import pytest

from mnist_dist.run import atomic


def test_the_contents_are_synced_before_the_rename(tmp_path, monkeypatch):
    """Else a crash of the machine may leave an empty file under the name."""
    calls, sync, rename = [], os.fsync, os.replace

    def fsync(handle):
        calls.append(("fsync", os.readlink(f"/proc/self/fd/{handle}"), os.fstat(handle).st_size))
        sync(handle)

    def replace(old, new):
        calls.append(("replace", str(old), str(new)))
        rename(old, new)

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    monkeypatch.setattr(atomic.os, "replace", replace)
    path = tmp_path / "new" / "file"
    atomic.replace(path, b"contents")
    draft = str(path.with_name(f".file.{os.getpid()}"))
    assert calls == [("fsync", draft, 8), ("replace", draft, str(path))]
    assert path.read_bytes() == b"contents"
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_contents(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail():
        with atomic.replacing(path) as draft:
            draft.write_bytes(b"new")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    atomic.replace(tmp_path / "link", b"new")
    assert (tmp_path / "target").read_bytes() == b"new"
    assert (tmp_path / "link").is_symlink()


def test_a_device_stays(tmp_path):
    """As root, the rename would replace it, such as --predict=/dev/full did."""
    if os.geteuid() != 0:
        pytest.skip("making a device needs root")
    device = tmp_path / "null"
    os.mknod(device, 0o20666, os.makedev(1, 3))
    with pytest.raises(OSError, match="it is a device"):
        atomic.replace(device, b"new")
    assert device.is_char_device()
    assert list(tmp_path.iterdir()) == [device]
