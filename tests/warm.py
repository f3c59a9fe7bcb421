"""Processes that find TensorFlow imported: a start takes 0.1 s of a core, and not 6.

`Popen` and `run` are those of `subprocess`, for Python's own command lines. A server, this file run
as a script, has imported TensorFlow and used nothing of it. It forks for each process wanted, which
gets its own arguments, environment, folder, cores and files, runs as a new one does, and ends as
such. What a fresh interpreter does otherwise (greetings, Python's own flags, the order of sets) is
left to the tests of the commands themselves, of the launchers and of SLURM, which start for real.
"""

import atexit
import contextlib
import gc
import json
import os
import re
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
from pathlib import Path

STARTING = threading.Lock()
SERVERS = "MNIST_DIST_TESTS_WARM"
"""The environment's word for the folder of the servers' sockets."""


class Popen(subprocess.Popen):
    """`subprocess.Popen([sys.executable, ...])`."""

    def _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *more):
        """More: startupinfo, creationflags, shell, three pairs of pipes, and from
        restore_signals on what is left.
        """
        ends, start_new_session = more[3:9], more[14]
        program, *words = map(os.fspath, args)
        assert program == sys.executable, program
        env = dict(os.environ if env is None else env)
        request = {
            **{"words": words, "environment": env, "new_session": start_new_session},
            **{"folder": os.fspath(cwd or os.getcwd()), "cores": list(os.sched_getaffinity(0))},
        }
        inherited = [ends[0], ends[3], ends[5]]
        files = [end if end != -1 else own for own, end in enumerate(inherited)]
        self._server = socket.socket(socket.AF_UNIX)
        self._server.connect(str(server(args)))
        socket.send_fds(self._server, [b"f"], files)
        self._server.sendall(json.dumps(request).encode() + b"\n")
        self._answers = self._server.makefile("r")
        self.pid = int(self._answers.readline())
        self._child_created = True
        self._close_pipe_fds(*ends)

    def _try_wait(self, wait_flags):
        wait = 0 if wait_flags & os.WNOHANG else None
        if not select.select([self._server], [], [], wait)[0]:
            return 0, 0
        status = int(self._answers.readline() or os.W_EXITCODE(255, 0))
        self._server.close()
        return self.pid, status

    def _internal_poll(self, *_, **__):
        with self._waitpid_lock:
            if self.returncode is None:
                pid, status = self._try_wait(os.WNOHANG)
                if pid:
                    self._handle_exitstatus(status)
        return self.returncode


def run(command, timeout=None, check=False, capture_output=False, **options):
    """`subprocess.run`."""
    if capture_output:
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Popen(command, **options) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(command, process.returncode, output, errors)
    if check:
        done.check_returncode()
    return done


def with_one_dnn(command):
    """Whether the program takes oneDNN's kernels for the precisions among some words."""
    from mnist_dist.devices.startup_messages import (
        one_dnn_has,  # a server imports none of the package
    )

    words = " ".join(map(str, command))
    return all(map(one_dnn_has, re.findall(r"--precision=(\w+)", words)))


def server(command):
    """The socket of a command's server, which is started if it isn't there.

    os.environ then tells the processes that this one starts where it is.
    """
    one_dnn = "1" if with_one_dnn(command) else "0"
    with STARTING:
        if SERVERS not in os.environ:
            folder = tempfile.TemporaryDirectory(prefix="warm-")
            atexit.register(folder.cleanup)
            os.environ[SERVERS] = folder.name
        path = Path(os.environ[SERVERS]) / one_dnn
        if not path.exists():
            _start(path, one_dnn)
    return path


def _start(path, one_dnn):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TF_", "SLURM_"))}
    alive, _ = os.pipe()  # its other end closes with this process, and the server ends, too
    process = subprocess.Popen(
        [sys.executable, __file__, str(path), str(alive)],
        env={**kept, "TF_ENABLE_ONEDNN_OPTS": one_dnn, "TF_CPP_MIN_LOG_LEVEL": "3"},
        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL},
        pass_fds=[alive],
        start_new_session=True,
    )
    os.close(alive)
    line = process.stdout.readline()
    assert line == b"ready\n", f"the server of warm processes ended with {process.wait()}"
    process.stdout.close()


# What follows runs in the server, and in what it forks.


def serve(path, alive):
    """Forks for each request; returns, in the forked process, its words."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    print("ready", flush=True)
    os.dup2(0, 1)
    clients = {}  # process ID's file descriptor -> process ID and connection
    while True:
        ready, _, _ = select.select([alive, listener, *clients], [], [])
        if alive in ready:
            sys.exit()
        for ended in set(ready) & set(clients):
            pid, client = clients.pop(ended)
            _, status = os.waitpid(pid, 0)
            os.close(ended)
            with client, contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
                client.sendall(f"{status}\n".encode())
        if listener in ready:
            client, _ = listener.accept()
            _, files, _, _ = socket.recv_fds(client, 1, 3)
            with client.makefile("r") as lines:
                request = json.loads(lines.readline())
            pid = os.fork()
            if not pid:
                for number in (alive, listener.detach(), client.detach(), *clients):
                    os.close(number)
                for _, other in clients.values():
                    other.close()
                become(request, files)
                return request["words"]
            for file in files:
                os.close(file)
            client.sendall(f"{pid}\n".encode())
            clients[os.pidfd_open(pid)] = pid, client


def become(request, files):
    """Takes on what a new process would have been started with."""
    if request["new_session"]:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server may have had it ignored
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.sched_setaffinity(0, request["cores"])
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])


def run_as_python(words):
    """`python WORDS`: -m MODULE, -c CODE or a script, and its arguments."""
    first, *rest = words
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [path for path in paths if path]
    if first == "-m":
        sys.path.insert(0, os.getcwd())
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.path.insert(0, "")
        sys.argv = ["-c", *rest[1:]]
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), main.__dict__)  # noqa: S102  # what it is for
    else:
        sys.path.insert(0, str(Path(first).resolve().parent))
        sys.argv = words
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    place, life = sys.argv[1:]
    del sys.path[0]
    import tensorflow  # noqa: F401

    gc.freeze()
    run_as_python(serve(place, int(life)))
