"""How the commands end."""

import importlib
import sys

import pytest

from mnist_dist.errors import RunError, UsageError
from mnist_dist.launch import command
from mnist_dist.run.command import Parser, answered
from tests.terminal import on_a_terminal, shown


def fails(error):
    def command():
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("x: no such folder"), 2, "mnist_dist: x: no such folder\n"),
        (RunError("the disk is full"), 1, "mnist_dist: the disk is full\n"),
        (ImportError("No x"), 2, "mnist_dist: No x; install what is missing\n"),
        (KeyboardInterrupt(), 130, "mnist_dist: interrupted\n"),
    ],
)
def test_what_ends_a_command_is_one_line_and_a_code(capsys, error, code, line):
    assert answered(fails(error)) == code
    assert capsys.readouterr() == ("", line)


def test_else_it_is_the_commands_own_code(capsys):
    assert answered(lambda: 2) == 2
    assert answered(lambda: 0) == 0
    assert capsys.readouterr() == ("", "")


def test_a_wrong_command_line_is_a_users_mistake():
    parser = Parser("p", "Does it.", "Exit code: 0.")
    parser.add_argument("--data_dir")
    for argv, said in [
        (["--x"], "--x: no such flag; --help lists the arguments"),
        (["--x=1"], "--x: no such flag; --help lists the arguments"),
        (["--data-di", "x"], "--data-di: no such flag; did you mean --data_dir?"),
        (["word"], "unrecognized arguments: word; --help lists the arguments"),
        (["--data_dir"], "argument --data_dir: expected one argument; --help lists the arguments"),
    ]:
        with pytest.raises(UsageError) as raised:
            parser.parse_args(argv)
        assert str(raised.value) == said


@pytest.mark.parametrize(
    ("module", "argv", "name"),
    [
        ("compare.__main__", ["", "."], "RUN"),
        ("report.__main__", [".", ""], "RUN_DIR"),
        ("evaluate", [""], "RUN_DIR"),
        ("evaluate", [".", "--images", "a.png", ""], "--images"),
        ("evaluate", [".", "--data_dir", ""], "--data_dir/--data-dir"),
        ("export", [".", ""], "OUT"),
        ("demo.__main__", [""], "RUN_DIR"),
        ("data.prepare", ["--data_dir="], "--data_dir"),
        ("bench.__main__", ["--json="], "--json"),
        ("ssh", ["--hosts="], "--hosts"),
    ],
)
def test_an_empty_argument_isnt_the_current_folder(module, argv, name, capsys):
    assert importlib.import_module(f"mnist_dist.{module}").main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"mnist_dist: argument {name}: it is empty; give a value; --help lists")
    assert err.count("\n") == 1


def test_the_flags_of_a_launched_run_may_be_empty():
    parser = command.parser("p", "", "-- --no_gpu")
    assert parser.parse_args(["--", "--data_dir", ""]).flags == ["--data_dir", ""]


@pytest.mark.parametrize("word", ["--data_dir=a-b", "--data-dir=a-b", "-data-dir=a-b"])
def test_both_spellings_of_a_flag(word):
    parser = Parser("p", "")
    parser.add_argument("--data_dir")
    parser.add_argument("words", nargs="*")
    assert parser.parse_args([word]).data_dir == "a-b"
    assert parser.parse_args(["--", "--data-dir=x", "--help"]).words == ["--data-dir=x", "--help"]
    own, rest = parser.parse_known_args(["--lr", "1", word, "-no-gpu"])
    assert (own.data_dir, own.words, rest) == ("a-b", ["1"], ["--lr", "-no-gpu"])


@pytest.mark.parametrize("word", ["--help", "-h", "-?", "--version"])
def test_what_is_asked_for_is_printed(capsys, word):
    parser = Parser("p", "Does it.", "Exit code: 0.")
    parser.add_argument("needed")
    assert answered(lambda: parser.parse_args(["--wrong", word]).needed) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    if word == "--version":
        assert lines[0].startswith("mnist_dist ")
        assert len(lines) == 1
    else:
        assert (lines[0], lines[2], lines[-1]) == (
            "usage: p [-h] [--version] needed",
            "Does it.",
            "Exit code: 0.",
        )
    assert err == ""


@pytest.mark.parametrize("module", ["evaluate", "export", "report", "data.prepare"])
def test_on_a_terminal_it_wraps_at_words(module):
    given = ["--none", "of", "these", "--arguments", "--is", "--known"]
    command = [sys.executable, "-m", f"mnist_dist.{module}", *given]
    text, _, code = on_a_terminal(command, columns=50)
    assert code == 2, text
    lines = shown(text)
    assert max(map(len, lines)) <= 50
    words = " ".join(lines).split()
    assert words[0] == "mnist_dist:"
    assert words[-4:] == ["--help", "lists", "the", "arguments"]


# A machine where TensorFlow isn't installed; the checkpoint isn't looked at.
WITHOUT = """
import sys, types
sys.modules["tensorflow"] = None
from mnist_dist import MODULE
MODULE.find = MODULE.origin.read = lambda found: types.SimpleNamespace(one_dnn=True)
sys.exit(MODULE.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("module", "given"), [("evaluate", ["x"]), ("export", ["x", "{}/out"])])
def test_it_says_what_it_does_before_tensorflow_is_there(tmp_path, module, given):
    command = [sys.executable, "-c", WITHOUT.replace("MODULE", module)]
    command += [word.format(tmp_path) for word in given]
    text, _, code = on_a_terminal(command, columns=100)
    assert code == 2, text
    assert text.startswith("\rimporting TensorFlow")
    [line] = [line for line in shown(text) if line]  # and takes it away
    assert line.startswith("mnist_dist: ")
    assert line.endswith("; install what is missing")
