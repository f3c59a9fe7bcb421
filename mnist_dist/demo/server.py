"""The page's HTTP server: three files, and two addresses that classify.

It answers only requests from its own page. A page of another site can't read answers (no CORS
headers), can't send images (their content type needs a preflight request, which is refused), and
can't pass for this one by a DNS name that points here (the Host header must be an address of this
machine).
"""

import contextlib
import http.server
import ipaddress
import json
import socket
import threading
from collections.abc import Iterator
from importlib import resources
from typing import Any, Protocol

from mnist_dist.errors import UsageError

FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
MOST_BYTES = 20 * 2**20
"""The largest photo accepted."""

TIMEOUT_S = 10.0
"""The longest silence of a browser within a request."""

MOST_REQUESTS = 64
"""Requests answered at the same time; more are refused with status 503."""

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src data:; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Answers(Protocol):
    """What the server asks; see `classifier.Classifier`."""

    def drawing(self, ink: bytes) -> dict[str, Any]:
        """Classifies a drawing."""

    def photo(self, data: bytes) -> dict[str, Any]:
        """Classifies a photo."""


class Listener:
    """A bound port; `serve` answers until Ctrl-C.

    Attributes:
        url: the page's address.
    """

    def __init__(self, server: http.server.ThreadingHTTPServer, host: str) -> None:
        self._server = server
        shown = socket.gethostname() if host == "0.0.0.0" else host  # noqa: S104  # compared only
        self.url = f"http://{shown}:{server.server_port}/"

    def serve(self, answers: Answers) -> None:
        """Answers requests until KeyboardInterrupt."""
        self._server.RequestHandlerClass = _handler(answers)
        with contextlib.suppress(KeyboardInterrupt):
            self._server.serve_forever()


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[Listener]:
    """Takes the port before the network is loaded, so that a taken one is reported at once.

    Raises:
        UsageError: the port is taken or not allowed, or the address isn't this machine's.
    """
    try:
        server = _Server((host, port), http.server.BaseHTTPRequestHandler)
    except OSError as error:
        raise UsageError(
            f"--host={host} --port={port}: can't listen there ({error.strerror}); give another "
            "--port, or 0 for any free one"
        ) from error
    with server:
        yield Listener(server, host)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores a browser that disconnects during an answer."""


def _is_this_machine(host: str) -> bool:
    """Whether a Host header (name, or name:port) names this machine by address or own name."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name.lower() in ("localhost", socket.gethostname().lower()):
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _handler(answers: Answers) -> type[http.server.BaseHTTPRequestHandler]:
    """The class that answers a request, with what it asks."""
    free = threading.BoundedSemaphore(MOST_REQUESTS)
    asked = {"/drawing": answers.drawing, "/photo": answers.photo}
    page = resources.files("mnist_dist.demo") / "page"

    class Handler(http.server.BaseHTTPRequestHandler):
        server_version, sys_version, timeout = "mnist_dist", "", TIMEOUT_S

        def do_GET(self) -> None:  # the library's name
            if not self._is_own():
                return
            if self.path not in FILES:
                self._send(404, b"There is no such page.", "text/plain")
                return
            name, kind = FILES[self.path]
            self._send(200, (page / name).read_bytes(), kind)

        def do_POST(self) -> None:  # the library's name
            if not self._is_own():
                return
            self.close_connection = True  # the rest of a refused body isn't read
            length = self.headers.get("Content-Length", "")
            if self.path not in asked:
                self._refuse(404, "There is no such address.")
            elif self.headers.get("Content-Type") != "application/octet-stream":
                self._refuse(415, "Send application/octet-stream.")
            elif not length.isdecimal() or not 0 < int(length[:12]) <= MOST_BYTES:
                self._refuse(413, f"Send 1 to {MOST_BYTES} bytes.")
            elif not free.acquire(blocking=False):
                self._refuse(503, "Too many requests at once; try again.")
            else:
                try:
                    self._classify(self.rfile.read(int(length)))
                finally:
                    free.release()

        def _classify(self, body: bytes) -> None:
            try:
                found = asked[self.path](body)
            except ValueError as error:
                self._refuse(422, str(error))
                return
            self._send(200, json.dumps(found).encode(), "application/json")

        def _is_own(self) -> bool:
            host, sender = self.headers.get("Host", ""), self.headers.get("Origin")
            if _is_this_machine(host) and sender in (None, f"http://{host}"):
                return True
            self.close_connection = True
            self._send(403, b"This server answers only its own page.", "text/plain")
            return False

        def _refuse(self, status: int, why: str) -> None:
            self._send(status, json.dumps({"error": why}).encode(), "application/json")

        def _send(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            for name, value in HEADERS.items():
                self.send_header(name, value)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Requests aren't logged: one comes with each stroke."""

    return Handler
