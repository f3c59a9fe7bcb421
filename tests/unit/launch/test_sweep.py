"""Lines of flags, as a user's editor may leave them."""

import pytest

from mnist_dist.errors import UsageError
from mnist_dist.launch.sweep import line_of, without_comment


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines(tmp_path, end):
    path = tmp_path / "lines"
    lines = ["\ufeff--lr=0.1 --epochs=1", "# a comment", "", "  \t", '--lr=0.2  "--x=a  b" # later']
    path.write_text(end.join(lines), encoding="utf-8", newline="")
    assert line_of(path, 0) == ["--lr=0.1", "--epochs=1"]
    assert line_of(path, 1) == ["--lr=0.2", "--x=a  b"]
    with pytest.raises(UsageError, match=r"task 2, but .* has 2 lines; give --array=0-1"):
        line_of(path, 2)


@pytest.mark.parametrize("text", ["--name='a", '--name="a', "--name=a\\"])
def test_a_quote_that_isnt_closed_names_its_line(tmp_path, text):
    path = tmp_path / "lines"
    path.write_text(f"# first\n--lr=1\n{text}\n")
    with pytest.raises(
        UsageError, match=r"lines, line 3: no (closing quotation|escaped character)"
    ):
        line_of(path, 1)


def test_a_file_that_isnt_there(tmp_path):
    with pytest.raises(UsageError, match=r"can't read .*No such file"):
        line_of(tmp_path / "no", 0)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="isn't text"):
        line_of(tmp_path / "binary", 0)


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("--a=1 # b", "--a=1 "),
        ("#--a=1", ""),
        ("--a=x#y", "--a=x#y"),
        ("--a='x # y' #z", "--a='x # y' "),
        ('--a="\\" # y"', '--a="\\" # y"'),
        ("--a=\\ #x", "--a=\\ #x"),
        ("'\\' # b", "'\\' "),
    ],
)
def test_comments(line, kept):
    assert without_comment(line) == kept
