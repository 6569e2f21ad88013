"""Messages over one connection: each a JSON object on a line of its own."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Mapping
from typing import Any

__all__ = ["Link", "Strange"]

_LONGEST = 1 << 20
# A machine that is gone is noticed after 15 seconds, whether or not something was sent to it.
_PROBES = {
    "TCP_KEEPIDLE": 5,
    "TCP_KEEPALIVE": 5,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 2,
    "TCP_USER_TIMEOUT": 15_000,
}


class Strange(Exception):
    """What came is no message."""


class Link:
    """A connection on which both sides send messages.

    Example:
      >>> one, other = map(Link, socket.socketpair())
      >>> one.send({"done": True})
      >>> other.received()
      [{'done': True}]
      >>> one.close()
      >>> other.received()
      Traceback (most recent call last):
      ConnectionResetError: closed by the other side
      >>> other.close()
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket, self._rest = connected, b""
        self._sending = threading.Lock()
        connected.settimeout(5)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if connected.family in (socket.AF_INET, socket.AF_INET6):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for name, value in _PROBES.items():
                if hasattr(socket, name):
                    connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def fileno(self) -> int:
        """For a selector."""
        return self._socket.fileno()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message.

        Raises:
          OSError: the other side is gone.
        """
        with self._sending:
            self._socket.sendall(json.dumps(message).encode() + b"\n")

    def received(self) -> list[dict[str, Any]]:
        """The messages that have come; waits for some bytes.

        Raises:
          OSError: the other side is gone.
          Strange: what came are no messages.
        """
        came = self._socket.recv(1 << 16)
        if not came:
            raise ConnectionResetError("closed by the other side")
        *lines, self._rest = (self._rest + came).split(b"\n")
        try:
            messages = [json.loads(line) for line in lines]
        except ValueError:
            raise Strange from None
        if len(self._rest) > _LONGEST or not all(isinstance(m, dict) for m in messages):
            raise Strange
        return messages

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
