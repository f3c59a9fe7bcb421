"""How each command's process ends when its outputs fail, or when it is stopped while it imports."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = [
    *("__main__", "train", "evaluate", "export", "report", "doctor", "bench", "demo"),
    *("local", "data.prepare", "launch.slurm", "launch.standby"),
]


def module(name):
    return [sys.executable, "-m", "mnist_dist" if name == "__main__" else f"mnist_dist.{name}"]


def shell(command, redirection):
    """The command's exit code and what can still be seen of its outputs."""
    line = f'set -o pipefail; "$@" {redirection}'
    done = subprocess.run(
        ["bash", "-c", line, "bash", *command], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_outputs_that_fail(name):
    """Help is written, and a wrong flag refused, as far as anybody reads it."""
    code, out, err = shell([*module(name), "--help"], "| head -1")
    assert (code, out.count("\n"), err) == (0, 1, "")
    assert shell([*module(name), "--help"], ">&-") == (0, "", "")
    code, _, err = shell([*module(name), "--help"], ">/dev/full")
    assert err == "mnist_dist: standard output can't be written (No space left on device)\n"
    assert code == (0 if name in ("train", "local", "launch.slurm", "launch.standby") else 1)
    for redirection in ("2>/dev/full", "2>&-", ">&- 2>&- <&-"):
        assert shell([*module(name), "--no_such_flag"], redirection) == (2, "", "")


# A package that stands before the real one and, on import, does what a user or a machine does.
PACKAGES = ("psutil", "absl", "numpy", "argparse")


def shadow(tmp_path, code):
    """An environment in which importing any of PACKAGES runs some code first."""
    for package in PACKAGES:
        (tmp_path / f"{package}.py").write_text(code)
    return {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}


def imports(name, tmp_path, code):
    done = subprocess.run(
        [*module(name), "x"],
        **{"capture_output": True, "text": True, "timeout": 60, "cwd": tmp_path},
        env=shadow(tmp_path, code),
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_interrupted_while_it_imports(name, tmp_path):
    code = "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"
    assert imports(name, tmp_path, code) == (130, "", "mnist_dist: interrupted\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_package_is_missing(name, tmp_path):
    code = "raise ModuleNotFoundError(f'No module named {__name__!r}')"
    code, out, err = imports(name, tmp_path, code)
    assert (code, out) == (2, "")
    assert err.startswith("mnist_dist: No module named '")
    assert err.endswith("'; install what is missing\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP"])
def test_a_training_is_stopped_while_it_imports(name, tmp_path):
    """It has nothing to save, and can be requeued."""
    code = f"import os, signal, time; os.kill(os.getpid(), signal.{name}); time.sleep(60)"
    line = f"mnist_dist: told to stop by {name} before training began\n"
    assert imports("train", tmp_path, code) == (75, "", line)


def python(code, **options):
    script = f"from mnist_dist import exits\nexits.begin('__main__')\n{code}"
    return subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, **options)


PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


@pytest.mark.parametrize(
    ("code", "ends"), [(1, (1, "said", "")), (130, (130, "said", "")), (0, (-6, "said", ""))]
)
def test_a_failed_command_skips_pythons_own_end(code, ends):
    """A GPU's allocator aborts the process there if the memory was full."""
    script = "import atexit, os; atexit.register(os.abort); print('said', end='')\n"
    process = python(f"{script}exits.end(lambda _: {code})", text=True, **PIPES)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == ends


def test_an_error_that_nothing_catches_keeps_its_traceback():
    """Also if a thread that Python would wait for goes on."""
    script = "import threading; threading.Thread(target=threading.Event().wait).start()\n"
    process = python(f"{script}exits.end(lambda _: 1 // 0)", text=True, **PIPES)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert err.startswith("Traceback (most recent call last):")
    assert err.endswith("ZeroDivisionError: integer division or modulo by zero\n")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_nobody_reads_a_full_pipe(stream):
    """The last line is for the other stream; the process ends in any case."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    while True:
        try:
            os.write(writer, b"x" * 65536)
        except BlockingIOError:
            break
    os.set_blocking(writer, True)
    other = "stderr" if stream == "stdout" else "stdout"
    code = "print('said')\nexits.leave(3, 'line')"
    env = {**os.environ, "PYTHONUNBUFFERED": ""}  # else print itself waits for a reader
    process = python(code, text=True, env=env, **{stream: writer, other: subprocess.PIPE})
    seen = getattr(process, other)
    assert process.wait(timeout=60) == 3
    assert seen.read() == ("line\n" if other == "stderr" else "said\n")
    os.close(reader)
    os.close(writer)


def test_a_non_blocking_pipe_loses_nothing():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    process = python("print('x' * 1_000_000, flush=True)", stdout=writer)
    os.close(writer)
    with open(reader, "rb") as file:
        assert len(file.read()) == 1_000_001
    assert process.wait(timeout=60) == 0


def test_a_terminal_that_is_gone():
    """What was on it fails with EIO; the process goes on."""
    parent, child = pty.openpty()
    code = "input()\nprint('x', flush=True)\nprint('y', file=sys.stderr)\nsys.exit(5)"
    process = python(
        f"import sys, signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n{code}",
        **{"stdin": subprocess.PIPE, "stdout": child, "stderr": child},
    )
    os.close(child)
    os.close(parent)
    process.communicate(b"\n", timeout=60)
    assert process.returncode == 5


def test_what_a_terminal_cannot_show_is_replaced():
    process = python(
        "print('99 \u00b1 1', flush=True)", env={**os.environ, "PYTHONIOENCODING": "ascii"}, **PIPES
    )
    assert process.communicate(timeout=60) == (b"99 ? 1\n", b"")


def test_it_does_nothing_in_a_module_that_is_imported():
    script = "import sys, signal; before = sys.stdout, signal.getsignal(signal.SIGINT)\n"
    script += "import mnist_dist.train\n"
    script += "assert before == (sys.stdout, signal.getsignal(signal.SIGINT))"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT).returncode == 0
