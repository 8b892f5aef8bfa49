"""A TCP proxy that loses acknowledgements: it lets a COMMIT through, waits for the server's answer, and cuts the connection instead."""

from __future__ import annotations

import contextlib
import socket
import threading


class LosingProxy:
    """Listens on ``port`` of the loopback; loses the answers to commits number ``lose`` (counted from 1 over all connections)."""

    def __init__(self, target: int, lose: set[int]) -> None:
        self._target, self._lose = target, lose
        self.commits = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    _cut(client)
                    continue
                threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        losing = threading.Event()
        back = threading.Thread(target=self._back, args=(client, server, losing), daemon=True)
        back.start()
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                if b"COMMIT" in data:
                    self.commits += 1
                    if self.commits in self._lose:
                        losing.set()
                server.sendall(data)
        _cut(server)

    def _back(self, client: socket.socket, server: socket.socket, losing: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                if losing.is_set():  # the server has answered, so it has committed
                    break
                client.sendall(data)
        _cut(client)
        _cut(server)


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
