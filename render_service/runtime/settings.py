"""Settings from options, then the environment, then ``.env`` in the working folder.

variable                   meaning                                         default
OPENAI_API_KEY             the key, as for the SDK                         none
OPENAI_BASE_URL            the server, as for the SDK                      the profile's
SORA_LEDGER_URL            a path, ``sqlite:///…`` or ``postgresql://…``   in the user data folder
SORA_LEDGER_READ_URL       a replica of the ledger's PostgreSQL, for commands   none: the ledger
                           that only read, and for the console
SORA_LEDGER_DATA           folder for what belongs to the ledger: stored   that of the ledger, or
                           files, the sandbox, the console's secret         the user data folder
SORA_LEDGER_PROFILE        the server profile                              ``custom`` with a base URL
SORA_LEDGER_PROFILES       a TOML file of your own profiles                none
SORA_LEDGER_ACTOR          who acts                                        the login name
SORA_LEDGER_TEAM           the team that pays, for budgets                 none
SORA_LEDGER_PROJECT        the project, for budgets                        none
SORA_LEDGER_ASSETS         where files are stored: a folder, or            ``assets`` beside the ledger
                           ``s3://``, ``gs://``, ``az://bucket/prefix``
SORA_LEDGER_KEY            file of the key that signs checkpoints, and     none: they are not signed
                           requests where the policy names it
SORA_LEDGER_WITNESSES      the policy file of the witnesses that cosign    none: nobody is asked
                           published checkpoints
SORA_LEDGER_TSA_CHAIN      certificates (PEM) by which a time-stamping    none: name them by --tsa-chain
                           authority is believed
SORA_LEDGER_WEBHOOK_       what webhooks of the chosen profile are signed  none: see
SECRETS                    with; ``…_SECRETS_<PROFILE>`` of another one    `render_service.webhooks`
SORA_LEDGER_OIDC           a TOML file that names the identity provider,   none
                           see `render_service.access.oidc`
SORA_LEDGER_OIDC_SECRET    the client secret of the console at that        none
                           provider, if it wants one
SORA_LEDGER_JUDGE_KEY      the key for the judge that the policy names,   none
                           not read from ``.env``
SORA_LEDGER_CONSOLE_URL    the public https address of the console,        none: on this machine only
                           when a proxy serves it
SORA_LEDGER_CONSOLE_SECRET what signs the console's cookies, the same for  a file beside the ledger
                           all instances behind one address
SORA_LEDGER_METRICS_TOKEN  what Prometheus sends to read the metrics of    none: not served
                           all ledgers of `serve --all`
SORA_LEDGER_CERTIFICATE    file of the certificate and key that sign       none: `publish` needs
                           what is published (`key certificate`)           --certificate
SORA_LEDGER_TRUST_LIST     certificates (PEM) of the signers that are     none: signers are not
                           trusted in C2PA manifests                       checked
SORA_LEDGER_LONGEST_RENDER seconds after which a render counts as overdue  21600 (six hours)
SORA_LEDGER_RETRY_SECONDS  how long to retry recording an answer that the  20
                           ledger cannot take, before the command ends
SORA_LEDGER_PRIVATE_       ``allow`` or ``refuse`` webhooks of clients to  allowed where ``serve``
ENDPOINTS                  this machine and its network, and by http       serves the sandbox
SORA_LEDGER_FORWARD        a TOML file that names where ``serve`` sends    none
                           events, see `render_service.forwarding`
SORA_LEDGER_ALERTS         a TOML file that names whom ``serve`` and       none
                           ``worker`` tell what, see `render_service.alerts`
SORA_SANDBOX_SECONDS       how long the embedded sandbox renders           6

`render_service.runtime.settings_file` describes what `.env` may do.
"""

import getpass
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ledger.log.urls import file_of
from ledger.record import BY_ACCESS, ActorSource, Authority, Provenance
from render_service.runtime.errors import BadInput
from render_service.runtime.ledgers import DATA
from render_service.runtime.settings_file import (
    BASE_URL,
    KEY,
    LEDGER,
    PROFILES,
    SettingsFile,
    check_ledger,
    is_in_a_file,
    read_settings_file,
    refusal,
)
from render_service.runtime.telemetry import Trace
from render_service.runtime.user_config import read_config, variables

OPENAI_HOST = "api.openai.com"
SANDBOX = "sandbox"
DEFAULT_SANDBOX_SECONDS = 6.0
DEFAULT_LONGEST_RENDER_S = 21_600.0
"""Hosted servers render in minutes; self-hosted machines with long queues may take an hour or two."""
DEFAULT_RETRY_SECONDS = 20.0
LONGEST_ACTOR = 256
_WORD = re.compile(r"(?=.{1,40}$)[a-z0-9]+(_[a-z0-9]+)*")
OIDC = "SORA_LEDGER_OIDC"
ALERTS = "SORA_LEDGER_ALERTS"
FORWARD = "SORA_LEDGER_FORWARD"
"""Not read from ``.env``: a folder's contents must not redirect the record."""
JUDGE_KEY = "SORA_LEDGER_JUDGE_KEY"
CONSOLE_URL = "SORA_LEDGER_CONSOLE_URL"
CONSOLE_SIGNING = "SORA_LEDGER_CONSOLE_SECRET"
"""Not read from ``.env``: the author of that file in a folder must not be able to sign in as anyone."""
READ_URL = "SORA_LEDGER_READ_URL"
"""Not read from ``.env``: a folder's contents must not determine what reviewers see."""
METRICS_TOKEN = "SORA_LEDGER_METRICS_TOKEN"  # noqa: S105  # the name of a variable
SHORTEST_SECRET = 32
TRUST_LIST = "SORA_LEDGER_TRUST_LIST"
"""Not read from ``.env``: a folder's contents must not decide whom to trust."""
WEBHOOK_SECRETS = "SORA_LEDGER_WEBHOOK_SECRETS"
WITNESSES = "SORA_LEDGER_WITNESSES"
"""Not read from ``.env``: a folder's contents must not decide whose cosignatures are enough."""
TSA_CHAIN = "SORA_LEDGER_TSA_CHAIN"
PRIVATE_ENDPOINTS = "SORA_LEDGER_PRIVATE_ENDPOINTS"
"""Not read from ``.env``: a folder's contents must not open the network of this machine."""


@dataclass(frozen=True)
class Settings:
    """The environment of the service.

    `profile_name` None means not chosen, `ledger_path` None that the ledger is on a database server.
    `webhook_secrets` are the unread variables that hold secrets: see `render_service.webhooks.endpoints`.
    `request_key_file` was given to sign this request; without it `key_file` does, if its key is in the
    policy. `assets_url` is the bucket for stored files, None if they are in `assets_folder`. `from_file` are
    the names that ``.env`` set. `oidc_file` names the trusted identity provider; ``.env`` cannot set it.
    `access_key_id` is the key with which the actor was identified, if any. ``.env`` sets neither
    `console_url`, `console_secret` nor `oidc_secret`.
    """

    ledger_url: str
    ledger_path: Path | None
    data_folder: Path
    assets_folder: Path
    profile_name: str | None
    base_url: str | None
    api_key: str | None
    profiles_file: Path | None
    sandbox_seconds: float
    actor: str
    actor_source: ActorSource
    key_file: Path | None = None
    webhook_secrets: Mapping[str, str] = field(default_factory=dict)
    team: str | None = None
    project: str | None = None
    assets_url: str | None = None
    longest_render_s: float = DEFAULT_LONGEST_RENDER_S
    request_key_file: Path | None = None
    retry_seconds: float = DEFAULT_RETRY_SECONDS
    private_endpoints: bool | None = None
    file: SettingsFile | None = None
    from_file: tuple[str, ...] = ()
    oidc_file: Path | None = None
    access_key_id: str | None = None
    console_url: str | None = None
    console_secret: str | None = None
    oidc_secret: str | None = None
    forward_file: Path | None = None
    alerts_file: Path | None = None
    witnesses_file: Path | None = None
    trust_list_file: Path | None = None
    tsa_chain_file: Path | None = None
    judge_key: str | None = None
    certificate_file: Path | None = None
    metrics_token: str | None = None
    read_url: str | None = None

    def __repr__(self) -> str:
        """Omit key and password: a settings object may end up in a log or traceback."""
        where = self.ledger_path or "postgresql://…"
        return f"Settings(ledger={str(where)!r}, profile_name={self.profile_name!r})"

    @property
    def sandbox_folder(self) -> Path:
        """The folder for the state of the embedded sandbox."""
        return self.data_folder / "sandbox"

    @property
    def _spool_beside(self) -> Path | None:
        return self.ledger_path.with_name(f"{self.ledger_path.name}.spool") if self.ledger_path else None

    def spool_folders(self, ledger_id: str) -> list[Path]:
        """Return the folders for answers that the ledger could not record, in order of preference."""
        return [*filter(None, [self._spool_beside]), _data_folder() / "spool" / ledger_id]

    @property
    def may_have_spool(self) -> bool:
        """Whether answers may be there: nearly always there are none, and nothing needs to be read."""
        beside = self._spool_beside
        folders = [_data_folder() / "spool", *([beside] if beside else [])]
        return any(map(os.path.isdir, folders))  # also False for folders this user may not access

    @property
    def place_url(self) -> str:
        """The place of new files."""
        return self.assets_url or self.assets_folder.absolute().as_uri()

    @property
    def may_have_ledger(self) -> bool:
        """Whether there is a ledger file, or a database server that may hold one."""
        return self.ledger_path is None or self.ledger_path.exists()

    def chosen_profile(self) -> str:
        """Return the profile for new requests: the chosen one, else what OPENAI_BASE_URL implies."""
        if self.profile_name:
            return self.profile_name
        host = urlsplit(self.base_url or "").hostname
        return "custom" if host and host != OPENAI_HOST else "openai"

    @property
    def login(self) -> str | None:
        """The login of the operating system, regardless of the actor's name.

        None for an actor identified by access: this process has its own login, which says nothing of them.
        """
        if self.actor_source in BY_ACCESS:
            return None
        return self.actor if self.actor_source is ActorSource.OPERATING_SYSTEM else login_name()

    def check_key_goes_to(self, *, own_profile: bool) -> None:
        """Raise `BadInput` if ``.env`` directs the key to a server but does not contain that key.

        `own_profile`: the profile is from the file SORA_LEDGER_PROFILES, which may name the server.
        """
        if self.file is None or self.api_key is None or KEY in self.from_file:
            return
        if BASE_URL in self.from_file:
            raise refusal(self.file, BASE_URL)
        if own_profile and self.base_url is None and PROFILES in self.from_file:
            raise refusal(self.file, PROFILES)

    def provenance(self, trace: Trace) -> Provenance:
        """Return the actor and trace to record."""
        return Provenance(self.actor, self.actor_source, Authority.HUMAN, trace.trace_id, trace.span_id)


def read_settings(
    *,
    ledger: str | None = None,
    profile: str | None = None,
    actor: str | None = None,
    team: str | None = None,
    project: str | None = None,
    environment: Mapping[str, str] = os.environ,
    folder: Path = Path(),
) -> Settings:
    """Read the settings; arguments (command-line options) override the environment and ``.env``."""
    file = read_settings_file(folder / ".env")
    own = _read_permitted(file, environment)
    defaults = variables(read_config(environment))
    if BASE_URL in environment or BASE_URL in own:  # a server was given, which is more than a default
        defaults.pop("SORA_LEDGER_PROFILE", None)
    values = {**defaults, **environment, **own}

    def get(name: str) -> str | None:
        return values.get(name, "").strip() or None

    def seconds(name: str, default: float) -> float:
        return _seconds(name, get(name), default)

    url = ledger or get(LEDGER) or str(_data_folder() / "ledger.db")
    if not ledger and LEDGER in own:
        check_ledger(file, url, environment)
    path = file_of(url)
    data = _path(environment.get(DATA))
    beside = data or (path.parent if path else _data_folder())
    who, source = _actor(actor, get("SORA_LEDGER_ACTOR"))
    assets = get("SORA_LEDGER_ASSETS")
    in_bucket = assets is not None and "://" in assets
    return Settings(
        ledger_url=url,
        ledger_path=path,
        data_folder=beside,
        assets_folder=Path(assets).expanduser() if assets and not in_bucket else beside / "assets",
        profile_name=profile or get("SORA_LEDGER_PROFILE"),
        base_url=get(BASE_URL),
        api_key=get(KEY),
        profiles_file=_path(get(PROFILES)),
        sandbox_seconds=seconds("SORA_SANDBOX_SECONDS", DEFAULT_SANDBOX_SECONDS),
        retry_seconds=seconds("SORA_LEDGER_RETRY_SECONDS", DEFAULT_RETRY_SECONDS),
        actor=who,
        actor_source=source,
        key_file=_path(get("SORA_LEDGER_KEY")),
        assets_url=assets if in_bucket else None,
        longest_render_s=seconds("SORA_LEDGER_LONGEST_RENDER", DEFAULT_LONGEST_RENDER_S),
        webhook_secrets={name: text for name, text in values.items() if name.startswith(WEBHOOK_SECRETS)},
        team=check_word("--team or SORA_LEDGER_TEAM", team or get("SORA_LEDGER_TEAM")),
        project=check_word("--project or SORA_LEDGER_PROJECT", project or get("SORA_LEDGER_PROJECT")),
        private_endpoints=_permission(PRIVATE_ENDPOINTS, environment.get(PRIVATE_ENDPOINTS)),
        oidc_file=_path(environment.get(OIDC)),
        alerts_file=_path(environment.get(ALERTS)),
        forward_file=_path(environment.get(FORWARD)),
        judge_key=environment.get(JUDGE_KEY, "").strip() or None,
        oidc_secret=environment.get(f"{OIDC}_SECRET", "").strip() or None,
        console_url=_public_url(environment.get(CONSOLE_URL, "").strip()),
        console_secret=_secret(environment.get(CONSOLE_SIGNING, "").strip()),
        witnesses_file=_path(environment.get(WITNESSES)),
        certificate_file=_path(get("SORA_LEDGER_CERTIFICATE")),
        trust_list_file=_path(environment.get(TRUST_LIST)),
        tsa_chain_file=_path(environment.get(TSA_CHAIN)),
        read_url=_replica(environment.get(READ_URL, "").strip(), path),
        metrics_token=environment.get(METRICS_TOKEN, "").strip() or None,
        file=file,
        from_file=tuple(sorted(own)),
    )


def _read_permitted(file: SettingsFile, environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a ``.env`` file may set and the environment does not; a server comes with its key."""
    own = {name: text for name, text in file.values.items() if is_in_a_file(name) and name not in environment}
    if BASE_URL in own and KEY in file.values:
        own[KEY] = file.values[KEY]
    return own


def read_named_secret(
    whose: str, variable: str | None, environment: Mapping[str, str] = os.environ
) -> str | None:
    """Return the secret in a variable that a file names for `whose`; `BadInput` if it is not set.

    It is not read from ``.env``.
    """
    if variable is None:
        return None
    text = environment.get(variable, "").strip()
    if not text:
        raise BadInput(
            f"{whose}: the variable {variable}, which it names, is not set",
            param=variable,
            expected="a value",
            found="nothing",
        )
    return text


def _data_folder() -> Path:
    from platformdirs import user_data_path  # only if no ledger is given

    return user_data_path("sora-ledger", appauthor=False)


def _actor(flag: str | None, variable: str | None) -> tuple[str, ActorSource]:
    if flag:
        return check_actor("--actor", flag), ActorSource.FLAG
    if variable:
        return check_actor("SORA_LEDGER_ACTOR", variable), ActorSource.ENVIRONMENT
    return login_name(), ActorSource.OPERATING_SYSTEM


def login_name() -> str:
    """Return the operating system's login name; LOGNAME and USER are ignored: anyone can set them."""
    try:
        import pwd  # noqa: PLC0415  # not on Windows
    except ImportError:
        return getpass.getuser()
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"


def check_actor(where: str, actor: str) -> str:
    """Return `actor` if it can be the name of an actor; `BadInput` says what `where` expects."""
    if not actor.isprintable() or len(actor) > LONGEST_ACTOR:
        raise BadInput(
            f"{where}: expected 1 to {LONGEST_ACTOR} printable characters, such as ana or ci-42",
            param="actor",
            expected=f"1 to {LONGEST_ACTOR} printable characters, such as ana or ci-42",
            found=actor[:LONGEST_ACTOR],
        )
    return actor


def check_word(where: str, word: str | None) -> str | None:
    """Return `word` if it can be the name of a team or project; `BadInput` says what `where` expects."""
    if word is not None and not _WORD.fullmatch(word):
        raise BadInput(
            f"{where}: expected lower-case letters and digits, with single underscores between them, "
            f"such as film or spring_2027; found {word!r}",
            param=where,
            expected="lower-case letters and digits, with single underscores between them",
            found=f"{word!r}",
        )
    return word


def _path(text: str | None) -> Path | None:
    return Path(stripped).expanduser() if text and (stripped := text.strip()) else None


def _permission(name: str, text: str | None) -> bool | None:
    if not text:
        return None
    if text not in {"allow", "refuse"}:
        raise BadInput(
            f"{name}: expected allow or refuse, found {text!r}",
            param=name,
            expected="allow or refuse",
            found=f"{text!r}",
        )
    return text == "allow"


def _public_url(text: str) -> str | None:
    """Return an https origin; the console has its own path below it."""
    if not text:
        return None
    try:
        parts = urlsplit(text)
        port = f":{parts.port}" if parts.port not in {None, 443} else ""
    except ValueError:
        parts, port = urlsplit(""), ""
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.path not in {"", "/"}:
        raise BadInput(
            f"{CONSOLE_URL}: expected an address such as https://renders.example.org",
            param=CONSOLE_URL,
            expected="an address such as https://renders.example.org",
            found="another text",
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"https://{host}{port}"


def _replica(text: str, file: Path | None) -> str | None:
    if text and (file is not None or file_of(text) is not None):
        raise BadInput(
            f"{READ_URL}: expected postgresql://… of a replica, for a ledger on PostgreSQL; found "
            + (f"the ledger {file}" if file is not None else "another kind of URL")
            + f"; unset {READ_URL}",
            param=READ_URL,
            expected="postgresql://… of a replica",
            found="a file",
        )
    return text or None


def _secret(text: str) -> str | None:
    if text and len(text) < SHORTEST_SECRET:
        raise BadInput(
            f"{CONSOLE_SIGNING}: expected at least {SHORTEST_SECRET} random characters, "
            "as `openssl rand -hex 32` prints",
            param=CONSOLE_SIGNING,
            expected=f"at least {SHORTEST_SECRET} random characters, as `openssl rand -hex 32` prints",
            found="fewer",
        )
    return text or None


def _seconds(name: str, text: str | None, default: float) -> float:
    if text is None:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise BadInput(
            f"{name}: expected a number of seconds from 0, found {text!r}",
            param=name,
            expected="a number of seconds from 0",
            found=f"{text!r}",
        )
    return seconds
