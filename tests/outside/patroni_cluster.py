"""Three PostgreSQL servers under Patroni with a synchronous standby, and etcd, on loopback.

Everything reaches a node through relays, so a test can cut it off as a network would: what is sent is not
answered and not refused. Loaded by path through the fixture of the test that needs it.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.outside.cluster import free_port, programs, unprivileged

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / ".venv/ha"
PYTHON = "/usr/bin/python3" if os.getuid() == 0 else sys.executable
"""For Patroni, which runs as nobody where the tests run as root, and may not read root's Python."""

ETCD = shutil.which("etcd")
TTL_S = 20
"""The least that Patroni takes: a leader that is gone is replaced after this time."""

PATIENCE_S = 120.0
_CHUNK = 65_536


class Relay:
    """Carries connections to a port, until it is cut."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(self._listening.getsockname()[1])
        self._open = threading.Event()
        self._open.set()
        self._connections: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Carry nothing any more, in either direction; connections stay open."""
        self._open.clear()

    def heal(self) -> None:
        """Carry again; what was open while it was cut is closed."""
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._open.set()

    def close(self) -> None:
        """Stop."""
        self._listening.close()
        self.heal()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        self._connections.add(client)
        self._open.wait()
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self._target), 5) as server:
            server.settimeout(None)
            self._connections.add(server)
            back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
            back.start()
            self._pump(client, server)
            back.join()
            self._connections.discard(server)
        self._connections.discard(client)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                self._open.wait()
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@dataclass
class Node:
    """A PostgreSQL server, its Patroni, and the relays to it and from it to etcd."""

    name: str
    folder: Path
    etcd: Relay
    port: int = field(default_factory=free_port)
    rest_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.relay = Relay(self.port)

    @property
    def url(self) -> str:
        """The URL of the server itself, past the relay."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start Patroni, which starts PostgreSQL."""
        with (self.folder / "patroni.log").open("ab") as log:
            self.process = subprocess.Popen(
                [PYTHON, "-m", "patroni", str(self.folder / "patroni.json")],
                stdout=log,
                stderr=log,
                cwd="/",
                env={**os.environ, "HOME": str(self.folder), "PYTHONPATH": str(PACKAGES)},
                start_new_session=True,
                **unprivileged(),  # type: ignore[call-overload]
            )

    def _pids(self) -> list[int]:
        """Return Patroni, PostgreSQL and all their children."""
        found = []
        marks = (str(self.folder).encode(), f":{self.port}".encode())
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (place / "cmdline").read_bytes()
                parent = int((place / "stat").read_text().rsplit(")", 1)[1].split()[1])
                found.append((int(place.name), parent, any(mark in words for mark in marks)))
        ours = {pid for pid, _, is_named in found if is_named and pid != os.getpid()}
        grown = True
        while grown:
            more = {pid for pid, parent, _ in found if parent in ours} - ours
            ours |= more
            grown = bool(more)
        return sorted(ours)

    def signal(self, number: int) -> None:
        """Send a signal to all processes of the node."""
        for pid in self._pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """End it as a power failure would."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
            self.process = None

    def is_leader(self) -> bool:
        """Whether a transaction is committed here, and so confirmed by a standby."""
        try:
            with psycopg.connect(self.url, autocommit=True, connect_timeout=2) as db:
                db.execute("SET statement_timeout = '2s'")
                unconfirmed: list[object] = []  # a commit that gives up its wait for a standby warns of it
                db.add_notice_handler(unconfirmed.append)
                db.execute("SET client_min_messages = 'warning'")
                if (db.execute("SELECT pg_is_in_recovery()").fetchone() or (True,))[0]:
                    return False
                db.execute("CREATE TABLE IF NOT EXISTS public.beats (at timestamptz)")
                unconfirmed.clear()
                db.execute("INSERT INTO public.beats VALUES (now())")
                return not unconfirmed
        except psycopg.Error:
            return False


class PatroniCluster:
    """The cluster; `begin` returns once a leader has a synchronous standby."""

    def __init__(self, size: int = 3) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="patroni-", dir="/tmp"))
        if not os.getuid():
            os.chown(self.root, *unprivileged().values())
        self._etcd_port = free_port()
        self._etcd: subprocess.Popen[bytes] | None = None
        self.nodes: list[Node] = []
        for number in range(size):
            folder = self.root / f"node{number}"
            folder.mkdir()
            if not os.getuid():
                os.chown(folder, *unprivileged().values())
            self.nodes.append(Node(f"node{number}", folder, Relay(self._etcd_port)))

    @property
    def url(self) -> str:
        """The URL of all nodes."""
        ports = ",".join(f"127.0.0.1:{node.relay.port}" for node in self.nodes)
        return f"postgresql://postgres@{ports}/postgres"

    def begin(self) -> None:
        """Start etcd and all nodes."""
        assert ETCD
        peers = f"http://127.0.0.1:{free_port()}"
        clients = f"http://127.0.0.1:{self._etcd_port}"
        with (self.root / "etcd.log").open("ab") as log:
            self._etcd = subprocess.Popen(
                [
                    ETCD,
                    *("--data-dir", str(self.root / "etcd")),
                    *("--listen-client-urls", clients, "--advertise-client-urls", clients),
                    *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
                    *("--initial-cluster", f"default={peers}", "--unsafe-no-fsync"),
                ],
                stdout=log,
                stderr=log,
                env={**os.environ, "ETCD_UNSUPPORTED_ARCH": "arm64"}
                if os.uname().machine == "aarch64"
                else None,
            )
        for node in self.nodes:
            (node.folder / "patroni.json").write_text(json.dumps(self._settings(node)))
            node.start()
        self.settle()

    def _settings(self, node: Node) -> dict[str, Any]:
        who = {"username": "postgres", "password": "postgres"}
        return {
            "scope": "ledger",
            "name": node.name,
            "restapi": {
                "listen": f"127.0.0.1:{node.rest_port}",
                "connect_address": f"127.0.0.1:{node.rest_port}",
            },
            "etcd3": {"hosts": [f"127.0.0.1:{node.etcd.port}"], "use_proxies": True},
            "bootstrap": {
                "dcs": {
                    "ttl": TTL_S,
                    "loop_wait": 2,
                    "retry_timeout": 5,
                    "maximum_lag_on_failover": 1_048_576,
                    "synchronous_mode": True,
                    "primary_start_timeout": 0,
                    "postgresql": {"use_pg_rewind": True, "parameters": {"wal_keep_size": "256MB"}},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "data-checksums"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{node.port}",
                "connect_address": f"127.0.0.1:{node.relay.port}",
                "data_dir": str(node.folder / "data"),
                "bin_dir": str(programs()),
                "pgpass": str(node.folder / "pgpass"),
                "authentication": {"superuser": who, "replication": who, "rewind": who},
                "parameters": {
                    "unix_socket_directories": "",
                    "max_connections": 100,
                    "shared_buffers": "32MB",
                },
                "pg_hba": ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"],
            },
        }

    def leader(self, without: Node | None = None) -> Node:
        """Return the node that commits, as soon as one does."""
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends:
            for node in self.nodes:
                if node is not without and node.is_leader():
                    return node
            time.sleep(0.1)
        raise TimeoutError("no leader")

    def settle(self) -> None:
        """Return once there is a leader, all others follow it, and one of them confirms every commit."""
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends:
            roles = sorted(self._roles())
            if roles == ["leader", *["replica"] * (len(self.nodes) - 2), "sync_standby"]:
                return
            time.sleep(0.5)
        raise TimeoutError(f"the members are {roles}")

    def _roles(self) -> list[str]:
        for node in self.nodes:
            with suppress(OSError, ValueError):
                address = f"http://127.0.0.1:{node.rest_port}/cluster"
                with urllib.request.urlopen(address, timeout=2) as answer:
                    members = json.load(answer)["members"]
                    return [m["role"] for m in members if m["state"] in {"running", "streaming"}]
        return []

    def end(self) -> None:
        """Stop and delete everything."""
        for node in self.nodes:
            node.signal(signal.SIGCONT)
            node.kill()
            node.relay.close()
            node.etcd.close()
        if self._etcd is not None:
            self._etcd.kill()
            self._etcd.wait()
        shutil.rmtree(self.root, ignore_errors=True)
