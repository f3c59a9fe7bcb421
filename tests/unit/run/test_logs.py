"""What a run appends to its files, and what is left of it."""

import json

import numpy as np
import pytest

from mnist_dist.errors import RunError
from mnist_dist.run import frames
from mnist_dist.run.logs import BUFFER_BYTES, Log, Written, kept_lines


def line(step, **values):
    return (
        json.dumps({"step": step, "split": "train", "loss": step / 8, **values}) + "\n"
    ).encode()


LINES = [line(step) for step in range(1, 37)]
DATA = b"".join(LINES)


@pytest.fixture
def then(tmp_path):
    """What a log of those lines said when it was saved at step 36."""
    log = Log(tmp_path / "log")
    for one in LINES:
        log.write(one)
    log.close()
    return log.written()


def up_to(step):
    return lambda record: record["step"] <= step


def test_a_log_holds_what_was_written(tmp_path, then):
    assert (tmp_path / "log").read_bytes() == DATA
    assert (then.records, then.size_bytes) == (36, len(DATA))


def test_a_log_that_goes_on_knows_what_was_there(tmp_path, then):
    log = Log(tmp_path / "log", 36, DATA)
    log.write(line(37))
    log.flush()
    again = Log(tmp_path / "other")
    for one in (*LINES, line(37)):
        again.write(one)
    assert log.written() == again.written()
    assert (tmp_path / "log").read_bytes() == DATA + line(37)


def test_buffered_and_flushed(tmp_path):
    log = Log(tmp_path / "log")
    log.write(b"x" * (BUFFER_BYTES - 1))
    assert (tmp_path / "log").read_bytes() == b""
    log.write(b"yz")
    assert (tmp_path / "log").stat().st_size == BUFFER_BYTES + 1


def test_a_full_disk_is_one_line():
    """/dev/full, as Linux has it."""
    from pathlib import Path

    log = Log(Path("/dev/full"))
    log.write(b"x")
    with pytest.raises(RunError, match=r"could not write /dev/full: No space left on device"):
        log.flush()


def test_a_folder_in_its_place_is_one_line(tmp_path):
    (tmp_path / "log").mkdir()
    with pytest.raises(RunError, match=r"could not write .*log: Is a directory"):
        Log(tmp_path / "log")


def test_what_came_later_is_dropped(then):
    rest = kept_lines(DATA + line(37) + b'\0\0\n{"step": 7}\n{"st', then, up_to(36))
    assert (rest.contents, rest.lost, rest.changed) == (DATA, 0, False)
    assert [record["step"] for record in rest.records] == list(range(1, 37))


def test_each_flipped_bit_is_seen(tmp_path):
    """And costs two lines at most: those that it stands between."""
    log, some = Log(tmp_path / "log"), b"".join(LINES[:5])
    for one in LINES[:5]:
        log.write(one)
    for bit in range(8 * len(some)):
        data = bytearray(some)
        data[bit // 8] ^= 1 << bit % 8
        rest = kept_lines(bytes(data), log.written(), up_to(36))
        assert rest.changed
        assert rest.contents != some
        assert len(rest.records) >= 3


@pytest.mark.parametrize(
    "bad", [b"null\n", b"[]\n", b"\xff\n", b"[" * 100_000 + b"\n", b"9" * 5000 + b"\n", b"{}\n"]
)
def test_lines_behind_a_bad_one_stay(then, bad):
    data = b"".join([*LINES[:18], bad, *LINES[19:], line(37)])
    rest = kept_lines(data, then, up_to(36))
    assert rest.contents == b"".join([*LINES[:18], *LINES[19:]])
    assert (rest.lost, rest.changed) == (1, True)


def test_lines_of_a_step_done_again_stand_once(then):
    rest = kept_lines(DATA[:-200] + b"\n" + DATA, then, up_to(36))
    steps = [record["step"] for record in rest.records]
    assert steps == sorted(set(steps))


def test_a_step_that_became_another_costs_its_own_line(then):
    data = b"".join([*LINES[:3], line(35), *LINES[4:]])
    rest = kept_lines(data, then, up_to(36))
    assert [record["step"] for record in rest.records] == [1, 2, 3, *range(5, 37)]
    assert (rest.lost, rest.changed) == (1, True)


@pytest.mark.parametrize("data", [b"", DATA[: len(DATA) // 2]])
def test_a_file_cut_short(then, data):
    rest = kept_lines(data, then, up_to(36))
    whole = data[: data.rfind(b"\n") + 1]
    assert rest.contents == whole
    assert rest.lost == 36 - whole.count(b"\n")
    assert rest.changed


def test_without_knowing_what_was_there():
    rest = kept_lines(DATA + line(99), None, up_to(36))
    assert (rest.contents, rest.lost, rest.changed) == (DATA, 0, False)


def test_nothing_was_there():
    nothing = Written(0, 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    assert kept_lines(DATA, nothing, up_to(36)).contents == b""


def test_the_checksum_is_castagnolis():
    """RFC 3720, appendix B.4: 32 bytes of zeros, and 0 to 31. The mask is TensorFlow's."""
    for data, crc in ((bytes(32), 0x8A9136AA), (bytes(range(32)), 0x46DD794E)):
        turned = (crc >> 15 | crc << 17) & 0xFFFFFFFF
        assert frames.checksum(data) == (turned + 0xA282EAD8) & 0xFFFFFFFF


RECORDS = [bytes([number]) * (number * 7) for number in range(1, 9)]
FRAMED = [frames.frame(record) for record in RECORDS]


def test_frames_are_found():
    found = list(frames.frames(b"".join(FRAMED)))
    assert found == FRAMED
    assert [frames.record_of(framed) for framed in found] == RECORDS


def test_frames_behind_garbage_are_found():
    for harm in (b"", b"\0" * 30, b"\xff" * 5, FRAMED[3][:-3], FRAMED[3][5:]):
        assert list(frames.frames(b"".join([*FRAMED[:3], harm, *FRAMED[4:]]))) == [
            *FRAMED[:3],
            *FRAMED[4:],
        ]


def test_each_flipped_bit_costs_its_own_frame():
    data = b"".join(FRAMED)
    ends = np.cumsum([len(framed) for framed in FRAMED])
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        hit = int(np.searchsorted(ends, bit // 8, side="right"))
        assert list(frames.frames(bytes(flipped))) == [*FRAMED[:hit], *FRAMED[hit + 1 :]]
