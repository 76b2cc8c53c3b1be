"""A folder of ledgers, each with settings of its own: what ``--all DIR`` means.

=====================  ==================================================================================
DIR/film/ledger.db     a ledger in a folder of its own, with its stored files beside it
DIR/film/settings.env  its settings, as ``NAME=value``; SORA_LEDGER_URL there names a ledger elsewhere
DIR/film.db            a ledger without a folder: it can be checked, not served or worked
=====================  ==================================================================================

A ledger gets the settings of its file, and for the rest those of the environment, except what belongs to one
ledger (`_OF_ONE_LEDGER`). If the file names a server, it gets no key or secret of another server.

`serve --all` and `worker --all` run one process for each ledger. `Placed` is what such a process is told.
"""

import json
import os
import re
import signal
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ledger.log.urls import file_of
from render_service.runtime.errors import BadInput
from render_service.runtime.settings_file import BASE_URL, KEY, LEDGER, misspelt, read_settings_file

SETTINGS = "settings.env"
DATA = "SORA_LEDGER_DATA"
PROFILE = "SORA_LEDGER_PROFILE"
PLACED = "SORA_LEDGER_PLACED"
"""Set by `serve --all` and `worker --all` for the process of one ledger, as JSON."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_OF_ONE_LEDGER = (LEDGER, "SORA_LEDGER_READ_URL", "SORA_LEDGER_ASSETS", DATA, "SORA_LEDGER_KEY", PLACED)
_OF_ONE_SERVER = re.compile(rf"{BASE_URL}|{KEY}|{PROFILE}|OPENAI_.*|SORA_LEDGER_WEBHOOK_SECRETS.*")
_FILES = re.compile(
    r"SORA_LEDGER_(DATA|PROFILES|KEY|WITNESSES|TSA_CHAIN|OIDC|ALERTS|FORWARD|CERTIFICATE|TRUST_LIST)"
)


class OneLedger(NamedTuple):
    """A ledger of a folder: its name, where it is, and the environment of its commands."""

    name: str
    shown: str
    """How messages name it: its file, or the file of its settings."""
    folder: Path
    environment: Mapping[str, str]

    @property
    def url(self) -> str:
        """The URL of the ledger."""
        return self.environment[LEDGER]


def ledgers_in(folder: Path, environment: Mapping[str, str] = os.environ) -> list[OneLedger]:
    """Return the ledgers in a folder, by path; `BadInput` if there are none, or settings cannot be used."""
    if not folder.is_dir():
        raise BadInput(
            f"--all {folder}: expected a folder of ledgers; there is none",
            param="all",
            expected="a folder of ledgers",
            found="none",
        )
    paths = {
        *folder.glob("*.db"),
        *(path for path in folder.glob("*/ledger.db") if not (path.parent / SETTINGS).exists()),
        *folder.glob(f"*/{SETTINGS}"),
    }
    if not paths:
        raise BadInput(
            f"--all {folder}: expected {folder}/NAME/ledger.db, {folder}/NAME/{SETTINGS} or {folder}/NAME.db;"
            " there is none",
            param="all",
            expected=f"{folder}/NAME/ledger.db, {folder}/NAME/{SETTINGS} or {folder}/NAME.db",
            found="none",
        )
    return [_read(path, environment) for path in sorted(paths)]


def apart(folder: Path, environment: Mapping[str, str] = os.environ) -> dict[str, OneLedger]:
    """Return the ledgers that can each have a process, by name; `BadInput` names one that cannot."""
    ledgers = ledgers_in(folder, environment)
    places: dict[str, str] = {}
    for ledger in ledgers:
        if ledger.folder == folder.absolute():
            raise BadInput(
                f"{ledger.shown}: a ledger needs its own folder, since stored files belong to one ledger: "
                f"move it to {folder / ledger.name / 'ledger.db'}",
                param="all",
                expected="a folder for each ledger",
                found=ledger.shown,
            )
        if not _NAME.fullmatch(ledger.name):
            raise BadInput(
                f"{ledger.shown}: the folder's name is part of addresses; expected up to 63 lower-case "
                f"letters, digits, '-' and '_', found {ledger.name!r}",
                param="all",
                expected="up to 63 lower-case letters, digits, '-' and '_'",
                found=ledger.name,
            )
        if (other := places.setdefault(_place(ledger.url), ledger.shown)) != ledger.shown:
            raise BadInput(
                f"{ledger.shown}: it names the same ledger as {other}; remove one of them",
                param="all",
                expected="each ledger once",
                found="it twice",
            )
    return {ledger.name: ledger for ledger in ledgers}


def of_folder(url: str | None, environment: Mapping[str, str] = os.environ) -> OneLedger | None:
    """Return the ledger whose folder is named instead of a URL; None if `url` names no such folder."""
    if not url or "://" in url:
        return None
    folder = Path(url).expanduser()
    for name in (SETTINGS, "ledger.db"):
        if (folder / name).is_file():
            return _read(folder / name, environment)
    return None


def _place(url: str) -> str:
    path = file_of(url)
    return url if path is None else str(path.resolve())


def _read(path: Path, environment: Mapping[str, str]) -> OneLedger:
    folder = path.parent.absolute()
    if path.name != SETTINGS:
        name = path.stem if path.name != "ledger.db" else folder.name
        own = {LEDGER: str(path.absolute())}
        return OneLedger(name, str(path), folder, _whole(own, folder, environment))
    file = read_settings_file(path, every_name=True)
    if file.ignored:
        raise BadInput(
            f"settings file {path}: it cannot be trusted, because {file.ignored}; nothing was started",
            param="all",
            expected="a file that only its owner may write",
            found=file.ignored,
        )
    for name, nearest in misspelt(file.values).items():
        if nearest is not None:  # another name may be that of a secret, which a file of its own names
            raise BadInput(
                f"settings file {path}: {name} is not a setting; did you mean {nearest}? Nothing was started",
                param=name,
                expected=nearest,
                found=name,
            )
    own = {name: text.strip() for name, text in file.values.items()}
    own[LEDGER] = _located(own.get(LEDGER) or "ledger.db", folder)
    if (assets := own.get("SORA_LEDGER_ASSETS")) and "://" not in assets:
        own["SORA_LEDGER_ASSETS"] = str(folder / Path(assets).expanduser())
    for name in filter(_FILES.fullmatch, own):
        own[name] = str(folder / Path(own[name]).expanduser()) if own[name] else ""
    return OneLedger(folder.name, str(path), folder, _whole(own, folder, environment))


def _located(url: str, folder: Path) -> str:
    """Return the URL of a ledger, whose path is relative to the folder of its settings."""
    path = file_of(url)
    return url if path is None else str(folder / path)


def _whole(own: Mapping[str, str], folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    names_server = BASE_URL in own or PROFILE in own
    shared = {
        name: text
        for name, text in environment.items()
        if name not in _OF_ONE_LEDGER and not (names_server and _OF_ONE_SERVER.fullmatch(name))
    }
    return {**shared, DATA: str(folder), **own}


class Placed(NamedTuple):
    """What the process of one ledger is told: its name, and for `serve` where the front end reaches it."""

    name: str
    socket: str = ""
    """The Unix socket to listen at; empty for a worker."""
    host: str = ""
    port: int = 0

    @property
    def below(self) -> str:
        """The path below which the front end serves this ledger."""
        return f"/t/{self.name}" if self.socket else ""

    @property
    def variable(self) -> str:
        """The text of the variable `PLACED`."""
        return json.dumps(self._asdict())


@cache
def placed() -> Placed | None:
    """Return what this process was told; None outside `serve --all` and `worker --all`."""
    text = os.environ.get(PLACED)
    try:
        return Placed(**json.loads(text)) if text else None
    except (TypeError, ValueError) as error:
        raise BadInput(
            f"{PLACED}: it is set by `serve --all` and `worker --all`; unset it",
            param=PLACED,
            expected="nothing",
            found="text that they did not write",
        ) from error


def below() -> str:
    """Return the path below which this process is served: empty unless `serve --all` started it."""
    here = placed()
    return "" if here is None else here.below


def end_with_parent() -> None:
    """Stop this process as SIGTERM does once the process that started it is gone, however it ended."""

    def wait() -> None:
        while os.read(0, 1):  # the other end is only ever closed
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    if placed() is not None:
        threading.Thread(target=wait, name="parent", daemon=True).start()
