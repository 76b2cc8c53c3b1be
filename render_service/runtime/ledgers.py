"""A folder of ledgers, each with its own settings: the meaning of ``--all DIR``.

=====================  ==================================================================================
DIR/film/ledger.db     a ledger in a folder of its own, with its stored files beside it
DIR/film/settings.env  its settings, as ``NAME=value``; SORA_LEDGER_URL there names a ledger elsewhere
DIR/film.db            a ledger without a folder: it can be checked, not served or worked
=====================  ==================================================================================

A ledger gets the settings of its file, and all others from the environment, except those that belong to one
ledger (`_OF_ONE_LEDGER`). If the file names a server, it gets no key or secret of another server.

`serve --all` and `worker --all` run one process for each ledger (`render_service.runtime.ledger_process`).
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ledger.log.urls import file_of
from render_service.runtime.errors import BadInput
from render_service.runtime.ledger_process import PLACED
from render_service.runtime.settings_file import BASE_URL, KEY, LEDGER, find_misspelt, read_settings_file

SETTINGS = "settings.env"
DATA = "SORA_LEDGER_DATA"
PROFILE = "SORA_LEDGER_PROFILE"

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_OF_ONE_LEDGER = (LEDGER, "SORA_LEDGER_READ_URL", "SORA_LEDGER_ASSETS", DATA, "SORA_LEDGER_KEY", PLACED)
_OF_ONE_SERVER = re.compile(rf"{BASE_URL}|{KEY}|{PROFILE}|OPENAI_.*|SORA_LEDGER_WEBHOOK_SECRETS.*")
_FILES = re.compile(
    r"SORA_LEDGER_(DATA|PROFILES|KEY|WITNESSES|TSA_CHAIN|OIDC|ALERTS|FORWARD|CERTIFICATE|TRUST_LIST)"
)


class OneLedger(NamedTuple):
    """A ledger of a folder: its name, its location, and the environment of its commands."""

    name: str
    shown: str
    """Its name in messages: its file, or the file of its settings."""
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


def list_separate(folder: Path, environment: Mapping[str, str] = os.environ) -> dict[str, OneLedger]:
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


def find_by_folder(url: str | None, environment: Mapping[str, str] = os.environ) -> OneLedger | None:
    """Return the ledger whose folder is given instead of a URL; None if `url` is not such a folder."""
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
    for name, nearest in find_misspelt(file.values).items():
        if nearest is not None:  # another name may be a secret's, referred to in its own settings file
            raise BadInput(
                f"settings file {path}: {name} is not a setting; did you mean {nearest}? Nothing was started",
                param=name,
                expected=nearest,
                found=name,
            )
    own = {name: text.strip() for name, text in file.values.items()}
    own[LEDGER] = _resolve_url(own.get(LEDGER) or "ledger.db", folder)
    if (assets := own.get("SORA_LEDGER_ASSETS")) and "://" not in assets:
        own["SORA_LEDGER_ASSETS"] = str(folder / Path(assets).expanduser())
    for name in filter(_FILES.fullmatch, own):
        own[name] = str(folder / Path(own[name]).expanduser()) if own[name] else ""
    return OneLedger(folder.name, str(path), folder, _whole(own, folder, environment))


def _resolve_url(url: str, folder: Path) -> str:
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
