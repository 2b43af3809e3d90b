"""Keeps tests, and every Python they start, off the network: nothing in the course downloads.

`block()` patches this process. Children are patched by the `sitecustomize.py` beside this file,
which Python imports by itself when this folder is on PYTHONPATH (tests/conftest.py puts it there).
So the kernels of the lessons are offline too.
"""

import ipaddress
import socket
import sys

# Kernels, the lab server and the browser talk over loopback; conftest forbids it elsewhere.
# On Windows asyncio itself needs it: a socket pair there is a loopback connection.
loopback_allowed = True
loopback_always = sys.platform == "win32"

connections_to = {
    "connect": lambda address, *rest: address,
    "connect_ex": lambda address, *rest: address,
    "sendto": lambda data, *rest: rest[-1],
}


class NetworkBlocked(RuntimeError):
    """A test tried to reach the network. Not an OSError: nothing should catch it and go on."""


def check(address) -> None:
    """Raise NetworkBlocked unless `address` is a Unix socket, or loopback where that is allowed."""
    if not isinstance(address, tuple):
        return
    host = address[0]
    local = host in (None, "", "localhost") or _is_loopback(host)
    if not local:
        raise NetworkBlocked(f"tests run offline, and this one tried to reach {host!r}")
    if not (loopback_allowed or loopback_always):
        raise NetworkBlocked(
            f"only browser tests and notebooks may use loopback, and this one tried {address!r}"
        )


def block() -> None:
    """Make this process refuse every connection and name look-up that leaves the machine."""
    for name, address_of in connections_to.items():
        setattr(socket.socket, name, _guarded(getattr(socket.socket, name), address_of))
    look_up = socket.getaddrinfo

    def getaddrinfo(host, *rest, **options):
        check((host,))
        return look_up(host, *rest, **options)

    socket.getaddrinfo = getaddrinfo


def _guarded(original, address_of):
    def call(self, *arguments):
        check(address_of(*arguments))
        return original(self, *arguments)

    return call


def _is_loopback(host) -> bool:
    text = host.decode() if isinstance(host, bytes) else str(host)
    try:
        return ipaddress.ip_address(text.split("%")[0]).is_loopback
    except ValueError:  # a name, not a number
        return text == "localhost"
