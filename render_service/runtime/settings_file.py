"""Read ``.env`` of the working folder: its possible authors, its values, and where it may send secrets.

The folder may have been cloned or unpacked, so the file is treated as untrusted. It is ignored if another
user could have written it. Values are literal: ``${NAME}`` is not expanded, or the file could read any
environment variable. An address in the file gets only secrets that are also in the file.
"""

import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from urllib.parse import urlsplit

from render_service.runtime.errors import BadInput

KEY = "OPENAI_API_KEY"
BASE_URL = "OPENAI_BASE_URL"
PROFILES = "SORA_LEDGER_PROFILES"
LEDGER = "SORA_LEDGER_URL"
DATABASE_PASSWORD = "PGPASSWORD"  # noqa: S105  # the name of a variable
MOST_BYTES = 1 << 20
_OURS = re.compile(r"\b(?:OPENAI|SORA)_")
_ANY = re.compile(r"\b[A-Za-z_]")
_TRUSTED = "or, if you trust it, set it in your own shell: export {name}=…"


SECRETS_OF_PROFILES = "SORA_LEDGER_WEBHOOK_SECRETS"
"""The name, and the beginning of the names for one profile each."""
IN_A_FILE = frozenset(
    {
        KEY,
        BASE_URL,
        PROFILES,
        LEDGER,
        SECRETS_OF_PROFILES,
        "SORA_LEDGER_ACTOR",
        "SORA_LEDGER_ASSETS",
        "SORA_LEDGER_CERTIFICATE",
        "SORA_LEDGER_KEY",
        "SORA_LEDGER_LONGEST_RENDER",
        "SORA_LEDGER_PROFILE",
        "SORA_LEDGER_PROJECT",
        "SORA_LEDGER_RETRY_SECONDS",
        "SORA_LEDGER_TEAM",
        "SORA_SANDBOX_SECONDS",
    }
)
"""The settings that ``.env`` may contain."""
IN_THE_SHELL = frozenset(
    {
        "SORA_LEDGER_ALERTS",
        "SORA_LEDGER_CONSOLE_SECRET",
        "SORA_LEDGER_CONSOLE_URL",
        "SORA_LEDGER_DATA",
        "SORA_LEDGER_FAILOVER_SECONDS",
        "SORA_LEDGER_FORWARD",
        "SORA_LEDGER_JUDGE_KEY",
        "SORA_LEDGER_METRICS_TOKEN",
        "SORA_LEDGER_OIDC",
        "SORA_LEDGER_OIDC_SECRET",
        "SORA_LEDGER_PRIVATE_ENDPOINTS",
        "SORA_LEDGER_READ_URL",
        "SORA_LEDGER_TRUST_LIST",
        "SORA_LEDGER_TSA_CHAIN",
        "SORA_LEDGER_WITNESSES",
    }
)
"""The settings that only the environment sets; for each of them, see `render_service.runtime.settings`."""
_OWN = ("SORA_LEDGER_", "SORA_SANDBOX_")


def is_in_a_file(name: str) -> bool:
    """Return whether ``.env`` may set the variable `name`."""
    return name in IN_A_FILE or name.startswith(f"{SECRETS_OF_PROFILES}_")


def find_misspelt(names: Iterable[str]) -> dict[str, str | None]:
    """Return the `names` that look like settings but are not, each with the nearest setting if any."""
    settings = sorted(IN_A_FILE | IN_THE_SHELL)
    unknown = (
        name
        for name in names
        if name.startswith(_OWN) and not is_in_a_file(name) and name not in IN_THE_SHELL
    )
    return {name: next(iter(get_close_matches(name, settings, 1, 0.85)), None) for name in unknown}


@dataclass(frozen=True)
class SettingsFile:
    """The relevant settings in a ``.env``; `ignored` says why it was not read."""

    path: Path
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    ignored: str | None = None

    def list_without_effect(self) -> list[str]:
        """Return why some of its lines have no effect: unknown settings, or environment-only ones."""
        lines = []
        for name, nearest in find_misspelt(self.values).items():
            hint = f"did you mean {nearest}?" if nearest else "docs/settings.md lists the settings"
            lines.append(f"{name} is not a setting and sets nothing; {hint}")
        shell = sorted(IN_THE_SHELL.intersection(self.values))
        return lines + [f"{name} is not read from this file; set it in your shell" for name in shell]


def read_settings_file(path: Path, *, every_name: bool = False) -> SettingsFile:
    """Read `path` if it exists; `BadInput` names the line that cannot be read.

    `every_name` is for a file given by an operator: it may set any variable, not only ours.
    """
    try:
        link = path.lstat()
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return SettingsFile(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return SettingsFile(path)
        if ignored := _suspicion(link, status):
            return SettingsFile(path, ignored=ignored)
        try:
            content = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise _unreadable(path, error) from error
    if len(content) > MOST_BYTES:
        raise BadInput(
            f"settings file {path}: expected at most {MOST_BYTES} bytes",
            param=".env",
            expected=f"at most {MOST_BYTES} bytes",
            found="more",
        )
    try:
        return SettingsFile(path, _parse(path, content.decode(), _ANY if every_name else _OURS))
    except UnicodeDecodeError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> BadInput:
    return BadInput(
        f"settings file {path}: expected lines NAME=value in UTF-8 ({error})",
        param=".env",
        expected="lines NAME=value in UTF-8",
        found=error,
    )


def _suspicion(link: os.stat_result, status: os.stat_result) -> str | None:
    """Return why another user could have written the file; root always could."""
    if not {link.st_uid, status.st_uid} <= {os.geteuid(), 0}:
        return "it belongs to another user"
    if status.st_mode & stat.S_IWOTH:
        return "every user may write it"
    return None


def _parse(path: Path, text: str, names: re.Pattern[str]) -> dict[str, str]:
    from dotenv import dotenv_values  # only if there is a file to read
    from dotenv.parser import parse_stream

    for line in parse_stream(StringIO(text)):
        if line.error and names.search(line.original.string):  # otherwise the wrong ledger would be used
            raise BadInput(
                f"settings file {path}, line {line.original.line}: expected NAME=value",
                param=".env",
                expected="NAME=value",
                found="another line",
            )
    values = dotenv_values(stream=StringIO(text), interpolate=False)
    return {name: value for name, value in values.items() if value is not None and names.match(name)}


def check_ledger(file: SettingsFile, url: str, environment: Mapping[str, str]) -> None:
    """Refuse the database in `file` if it would be sent a password that is not in `file`."""
    address = urlsplit(url)
    if not address.scheme.startswith("postgres") or address.password or "password=" in address.query:
        return
    if environment.get(DATABASE_PASSWORD):
        raise BadInput(
            f"settings file {file.path}: it names the database {LEDGER}, which would be sent the password in "
            f"{DATABASE_PASSWORD}; nothing was sent. Put the password into that URL, "
            + _TRUSTED.format(name=LEDGER),
            param=".env",
            expected="the password and the database in one place",
            found="two",
        )


def refusal(file: SettingsFile, name: str) -> BadInput:
    """Return why the key is not sent to the server that `file` names with `name`."""
    return BadInput(
        f"settings file {file.path}: it names the server ({name}), and the key comes from your environment; "
        f"nothing was sent, for a file in a folder must not choose where your key goes. Put the {KEY} of "
        f"that server into the same file, " + _TRUSTED.format(name=name),
        param=name,
        expected="the server and its key in one place",
        found="the key in the environment, and the server in a file",
    )
