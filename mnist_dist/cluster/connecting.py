"""Connects to a host by name without blocking the event loop."""

import asyncio
import contextlib
import ipaddress
import socket
import threading
from typing import Any

NO_ANSWER = "no answer"  # how the reason of a time-out begins


async def connect(host: str, port: int, timeout_s: float) -> socket.socket:
    """Returns a connected socket.

    Args:
        host: a name or an address; each address of a name is tried.
        port: to connect to.
        timeout_s: for each address.

    Raises:
        socket.gaierror: the name can't be found.
        UnicodeError: it can't be a host name, such as one with a label of over 63 characters.
        OSError: no address accepts the connection.
    """
    loop = asyncio.get_running_loop()
    problem = OSError(f"host '{host}' has no address")
    for family, kind, protocol, _, address in await _look_up(host, port):
        connection = socket.socket(family, kind, protocol)
        connection.setblocking(False)
        try:
            async with asyncio.timeout(timeout_s):
                await loop.sock_connect(connection, address)
        except TimeoutError:
            connection.close()
            problem = TimeoutError(f"{NO_ANSWER} within {timeout_s:g} s")
        except OSError as error:
            connection.close()
            problem = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise problem


async def _look_up(host: str, port: int) -> list[Any]:
    """socket.getaddrinfo in a thread of its own.

    asyncio's pool of threads would be joined at the end of the process, which would wait for a
    look-up without an answer.
    """
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)  # nothing to ask for
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[Any]] = loop.create_future()

    def report(addresses: list[Any], problem: Exception | None) -> None:
        if found.done():
            return
        if problem is not None:
            found.set_exception(problem)
        else:
            found.set_result(addresses)

    def ask() -> None:
        addresses, problem = list[Any](), None
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            problem = error
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(report, addresses, problem)

    threading.Thread(target=ask, daemon=True, name="look-up").start()
    return await found
