"""The network is out of reach in tests, in their children, and in the kernels of the lessons."""

import socket
import subprocess
import sys
import urllib.request

import offline_guard
import pytest

OUTSIDE = "192.0.2.1"  # an address that RFC 5737 keeps for documentation: nobody answers there


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: socket.create_connection((OUTSIDE, 80), timeout=1),
        lambda: socket.socket().connect_ex((OUTSIDE, 80)),
        lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"hello", (OUTSIDE, 53)),
        lambda: socket.getaddrinfo("example.com", 80),
        lambda: urllib.request.urlopen("http://example.com", timeout=1),
    ],
    ids=["connect", "connect_ex", "sendto", "name", "url"],
)
def test_outside_is_blocked(attempt):
    with pytest.raises(offline_guard.NetworkBlocked, match="offline"):
        attempt()


def _listen() -> socket.socket:
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    return server


@pytest.mark.skipif(offline_guard.loopback_always, reason="Windows' asyncio needs loopback")
def test_loopback_is_blocked_too():
    with _listen() as server, pytest.raises(offline_guard.NetworkBlocked, match="loopback"):
        socket.create_connection(server.getsockname(), timeout=1)


@pytest.mark.browser
def test_browser_tests_may_use_loopback():
    with _listen() as server, socket.create_connection(server.getsockname(), timeout=1):
        pass


def test_children_are_offline():
    script = f"import socket; socket.create_connection(({OUTSIDE!r}, 80), timeout=1)"
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert child.returncode == 1
    assert "NetworkBlocked" in child.stderr
