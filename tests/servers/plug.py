"""The cable between a client and a server on loopback, which can be pulled."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class Plug:
    """Passes connections on to a server.

    Attributes:
        port: That clients are to use.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._lock = threading.Lock()
        self.port = 0
        self.put_back()

    def put_back(self) -> None:
        """Listen, at the port of before if there was one."""
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def pull(self) -> None:
        """Break all connections, and refuse others until it is put back."""
        with self._lock:
            for end in (self._listening, *self._open):
                with contextlib.suppress(OSError):  # it is broken already
                    end.shutdown(socket.SHUT_RDWR)
            self._listening.close()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:  # pulled
                return
            with self._lock:
                if listening.fileno() < 0:  # pulled in this moment
                    client.close()
                    return
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._open += [client, server]
            for ends in ((client, server), (server, client)):
                threading.Thread(target=_pass_on, args=ends, daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):  # one side has gone
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def plugged(server_port: int) -> Iterator[Plug]:
    """Connect clients of the yielded port with a server."""
    plug = Plug(server_port)
    try:
        yield plug
    finally:
        plug.pull()
