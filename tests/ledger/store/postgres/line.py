"""The line between a store and its server, which can be cut where it hurts: at a COMMIT."""

import re
import selectors
import socket
import threading
from collections.abc import Callable
from pathlib import Path

SOCKET = ".s.PGSQL.5432"
SYNC = b"S\0\0\0\4"
READY = b"Z\0\0\0\5I"
MOVES = re.compile(rb"P....([^\0]*)\0[^\0]*UPDATE head", re.DOTALL)
"""The name under which a statement is prepared that moves the head."""


class Line:
    """Carries bytes from a socket in `folder` to the server's in `server`; `cut` says what befalls a COMMIT.

    A statement that moves the head and is sent alone commits as well, at the end of its transaction.
    *request*: it never reaches the server. *answer*: the server has done it, and nobody hears of it. *late*:
    the client's side breaks, and the COMMIT reaches the server only once `late` returns.
    """

    def __init__(self, folder: Path, server: Path) -> None:
        self.folder = folder
        self.cuts: list[str] = []
        self.late: Callable[[], object] = lambda: None
        self.accepted = 0
        self._server = server
        self._carries = threading.Event()
        self._carries.set()
        self._moves: set[bytes] = set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / SOCKET))
        self._listener.listen()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut(self, *kinds: str) -> None:
        """Let the next COMMITs meet these fates, one after the other; *none* lets one through."""
        self.cuts = list(kinds)

    def freeze(self) -> None:
        """Carry nothing any more, as a server that is frozen: connections are accepted and get no answer."""
        self._carries.clear()

    def thaw(self) -> None:
        """Carry again."""
        self._carries.set()

    def close(self) -> None:
        """Stop listening; what is connected ends with its client."""
        self.thaw()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._threads.append(threading.Thread(target=self._carry, args=(client,)))
            self._threads[-1].start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, selectors.DefaultSelector() as ready:
            self._carries.wait()
            server.connect(str(self._server / SOCKET))
            ready.register(client, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in ready.select():
                    self._carries.wait()
                    data = key.fileobj.recv(65_536)
                    is_commit = key.fileobj is client and self._commits(data)
                    kind = self.cuts.pop(0) if is_commit and self.cuts else "none"
                    if not data or kind != "none":
                        self._end(kind, client, server, data)
                        return
                    key.data.sendall(data)

    def _commits(self, data: bytes) -> bool:
        self._moves |= set(MOVES.findall(data))
        names = b"|".join(map(re.escape, self._moves))
        alone = SYNC in data and self._moves and re.search(rb"B....\0(" + names + rb")\0", data, re.DOTALL)
        return b"COMMIT\0" in data or bool(alone)

    def _end(self, kind: str, client: socket.socket, server: socket.socket, data: bytes) -> None:
        while kind != "none" and SYNC not in data:  # the server does nothing before it
            data += client.recv(65_536)
        if kind == "late":
            client.close()
            self.late()
        if kind in {"answer", "late"}:
            server.sendall(data)
            received = b""
            while not received.endswith(READY):
                received += server.recv(65_536)
