"""The targets of alerts.

A TOML file, which ``SORA_LEDGER_ALERTS`` names for `serve`, `worker` and `audit --alert`, lists them::

    version = 1
    unknown_after_minutes = 30

    [[webhook]]
    name = "on_call"
    url = "https://alerts.example.org/renders"
    signing_secret_env = "ON_CALL_SECRET"

    [[slack]]
    name = "film_channel"
    url_env = "SLACK_URL"                # the address is a secret
    occasions = ["held", "failed"]       # also: unknown, budget, finding; without it, all
    teams = ["film"]

    [[email]]
    name = "leads"
    server = "smtp.example.org"
    from = "sora-ledger@example.org"
    to = ["ana@example.org"]
    user = "sora-ledger"
    password_env = "SMTP_PASSWORD"
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from decision.errors import BadDocument
from decision.rules.document import Document, Entry
from decision.rules.toml import load_document
from ledger.store.outbox import ALERT
from render_service.alerts.occasions import Notice, Occasion
from render_service.runtime.errors import BadInput
from render_service.runtime.files import read_file
from render_service.runtime.settings import check_word

FILE_LIMIT_BYTES = 100_000
_PORTS = {"starttls": 587, "implicit": 465, "none": 25}


def _address(text: str) -> str:
    name, at, host = text.partition("@")
    if (
        not (name and at and host)
        or not text.isascii()
        or not text.isprintable()
        or set(text) & set(' ,;<>"')
    ):
        raise ValueError(f"{text!r}: expected an e-mail address such as ana@example.org")
    return text


Address = Annotated[str, AfterValidator(_address)]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Teams = Annotated[
    tuple[Annotated[str, AfterValidator(lambda text: check_word("team", text))], ...], Field(min_length=1)
]


class Target(Entry):
    """A target: a name, which identifies the alerts it already got, and the alerts it wants."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    occasions: Annotated[tuple[Occasion, ...], Field(min_length=1)] = tuple(Occasion)
    teams: Teams | None = None

    @property
    def endpoint_id(self) -> str:
        """The endpoint of its alerts in the outbox."""
        return ALERT + self.name

    def wants(self, notice: Notice) -> bool:
        """Return whether it gets the notice; with `teams`, only notices about one of them."""
        return notice.occasion in self.occasions and (self.teams is None or notice.team in self.teams)


class _ByUrl(Target):
    url: str | None = None
    url_env: Variable | None = None

    @model_validator(mode="after")
    def _has_one_url(self) -> "_ByUrl":
        if (self.url is None) == (self.url_env is None):
            raise ValueError("expected either url, or url_env with the variable that holds it")
        return self


class WebhookTarget(_ByUrl):
    """A receiver of JSON, signed if there is a secret."""

    signing_secret_env: Variable | None = None


class SlackTarget(_ByUrl):
    """An incoming webhook of Slack, or of a service that accepts the same JSON (Mattermost, Rocket.Chat)."""


class EmailTarget(Target):
    """People with e-mail addresses, and the server that accepts their mail."""

    server: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:-]+$", max_length=255)]
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    sender: Annotated[Address, Field(alias="from")]
    to: Annotated[tuple[Address, ...], Field(min_length=1, max_length=50)]
    user: str | None = None
    password_env: Variable | None = None

    @property
    def its_port(self) -> int:
        """The port, or the default one."""
        return self.port or _PORTS[self.tls]

    @model_validator(mode="after")
    def _keeps_its_password(self) -> "EmailTarget":
        if (self.user is None) != (self.password_env is None):
            raise ValueError("user and password_env belong together")
        if self.user is not None and self.tls == "none":
            raise ValueError('a password is sent only with tls = "starttls" or "implicit"')
        return self


class Targets(Document):
    """All targets of a file."""

    version: Literal[1]
    unknown_after_minutes: Annotated[int, Field(ge=1, le=10_080)] = 30
    webhook: tuple[WebhookTarget, ...] = ()
    slack: tuple[SlackTarget, ...] = ()
    email: tuple[EmailTarget, ...] = ()

    @property
    def all_targets(self) -> tuple[WebhookTarget | SlackTarget | EmailTarget, ...]:
        """All of them, of any kind."""
        return (*self.webhook, *self.slack, *self.email)

    @model_validator(mode="after")
    def _names_differ(self) -> "Targets":
        names = [target.name for target in self.all_targets]
        if not names:
            raise ValueError("expected at least one target: a table [[webhook]], [[slack]] or [[email]]")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two targets are called {twice[0]}: each has a name of its own")
        return self


def read_targets(path: Path) -> Targets:
    """Read the file; `BadInput` gives the line and key of an error."""
    try:
        return load_document(Targets, read_file(path, "file of alerts", FILE_LIMIT_BYTES))
    except BadDocument as error:
        raise BadInput(f"{path}: {error}", param=path, expected="a file of alerts", found=error) from None
