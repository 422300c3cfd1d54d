"""A port in front of a board's that breaks the connection when it is told to."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import Literal

__all__ = ["Proxy"]

Way = Literal["up", "down"]
_CHUNK = 1 << 12


class Proxy:
    """Forwards a port of this machine to ``port``, and breaks for good after a number of bytes.

    ``after`` counts the bytes of all connections together, to the board (``up``) or from it (``down``); None never
    breaks. What is over that number is not passed on. A broken proxy resets its connections and every new one;
    a ``silent`` one keeps them open and passes on nothing.
    """

    def __init__(self, port: int, *, way: Way = "up", after: int | None = None, silent: bool = False) -> None:
        self._target = port
        self._way = way
        self._left = after
        self._silent = silent
        self._broken = after == 0
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def broken(self) -> bool:
        """Whether it broke."""
        return self._broken

    def cut(self) -> None:
        """Break now."""
        with self._lock:
            self._broken = True
        if not self._silent:
            self._reset()

    def close(self) -> None:
        """End all connections and listen no more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._broken = True
        self._reset()

    def _reset(self) -> None:
        with self._lock:
            connections, self._open = self._open, []
        for connection in connections:
            with suppress(OSError):
                # Closing sends a reset instead of an end.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._broken and not self._silent:
                    client.close()
                    continue
                ends = [client]
                if not self._broken:
                    board = socket.create_connection(("127.0.0.1", self._target))
                    ends.append(board)
                    for way, source, target in (("up", client, board), ("down", board, client)):
                        threading.Thread(target=self._pass, args=(way, source, target), daemon=True).start()
                with self._lock:
                    self._open += ends

    def _pass(self, way: Way, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                with self._lock:
                    if way == self._way and self._left is not None:
                        data = data[: self._left]
                        self._left -= len(data)
                    ends = self._left == 0 and way == self._way
                if self._broken:
                    return
                target.sendall(data)
                if ends:
                    self.cut()
                    return
            target.shutdown(socket.SHUT_WR)
