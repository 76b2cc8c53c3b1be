"""The destinations of events.

A TOML file lists them, which `forward` reads, and `serve` if ``SORA_LEDGER_FORWARD`` names it::

    version = 1

    [[http]]
    name = "warehouse"
    url = "https://events.example.org/ingest"
    mode = "binary"                              # or "structured", the default
    types = ["render.closed", "submission.*"]    # without it, all
    teams = ["film"]                             # also: purposes, jobs
    authorization_env = "WAREHOUSE_AUTHORIZATION"

    [[nats]]
    name = "bus"
    servers = ["tls://nats-1.example.org:4222", "tls://nats-2.example.org:4222"]
    subject = "renders"                          # events go to renders.render.closed and so on
    token_env = "NATS_TOKEN"

    [[kafka]]
    name = "lake"
    servers = ["tls://kafka-1.example.org:9093"]
    topic = "renders"                            # the key of a message is the job
    user = "sora-ledger"
    password_env = "KAFKA_PASSWORD"

The file holds no secrets: it names the variables that hold them.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from decision.errors import BadDocument
from decision.rules.document import Document, Entry
from decision.rules.purpose import PURPOSES
from decision.rules.toml import load_document
from ledger.events import EVENT_TYPES, PrivateErased
from ledger.job import JOB_PREFIX, Job
from ledger.record import Record
from ledger.store.outbox import FORWARD
from render_service.runtime.errors import BadInput
from render_service.runtime.files import read_file
from render_service.runtime.settings import check_word

FILE_LIMIT_BYTES = 100_000


def _event_type(text: str) -> str:
    is_known = text in EVENT_TYPES
    if text.endswith(".*"):
        is_known = any(name.startswith(text.removesuffix("*")) for name in EVENT_TYPES)
    if not is_known:
        raise ValueError(
            f"{text!r} is no event type: expected one that `sora-ledger log --help` lists, such as "
            "render.closed, or the first part of several, such as submission.*"
        )
    return text


def _purpose(text: str) -> str:
    if text not in PURPOSES:
        raise ValueError(f"{text!r} is no purpose (purposes: {', '.join(PURPOSES)})")
    return text


def _job(text: str) -> str:
    if not text.startswith(JOB_PREFIX):
        raise ValueError(f"{text!r}: expected the whole id of a job, such as {JOB_PREFIX}01a2…")
    return text


EventTypes = Annotated[tuple[Annotated[str, AfterValidator(_event_type)], ...], Field(min_length=1)]
Purposes = Annotated[tuple[Annotated[str, AfterValidator(_purpose)], ...], Field(min_length=1)]
Teams = Annotated[
    tuple[Annotated[str, AfterValidator(lambda text: check_word("team", text))], ...], Field(min_length=1)
]
JobIds = Annotated[tuple[Annotated[str, AfterValidator(_job)], ...], Field(min_length=1)]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Destination(Entry):
    """Common to all destinations: a name, under which the position is stored, and a filter for events."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    mode: Literal["structured", "binary"] = "structured"
    begin: Literal["beginning", "now"] = "beginning"
    private_text: bool = False
    types: EventTypes | None = None
    purposes: Purposes | None = None
    teams: Teams | None = None
    jobs: JobIds | None = None

    @property
    def reader(self) -> str:
        """The name of its reader, and of its dead letters' endpoint, in the outbox."""
        return FORWARD + self.name

    @property
    def needs_job(self) -> bool:
        """Whether the filter needs properties of the record's job."""
        return self.purposes is not None or self.teams is not None

    def wants(self, record: Record, job: Job | None) -> bool:
        """Return whether the destination gets a record; `job` is given if `needs_job`.

        One that gets private text also gets every record of an erasure, so that it can erase its own copy.
        """
        if self.private_text and record.type == PrivateErased.type:
            return True
        return (
            (self.types is None or any(_is_of(record.type, pattern) for pattern in self.types))
            and (self.jobs is None or record.stream in self.jobs)
            and (self.purposes is None or (job is not None and job.purpose in self.purposes))
            and (self.teams is None or (job is not None and job.team in self.teams))
        )


def _is_of(type_: str, wanted: str) -> bool:
    return type_.startswith(wanted.removesuffix("*")) if wanted.endswith("*") else type_ == wanted


class HttpDestination(Destination):
    """An endpoint that accepts each event with a POST."""

    url: str
    authorization_env: Variable | None = None
    signing_secret_env: Variable | None = None


class NatsDestination(Destination):
    """A subject of NATS, on a cluster with JetStream."""

    servers: Annotated[tuple[str, ...], Field(min_length=1)]
    subject: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$")] = "sora_ledger"
    token_env: Variable | None = None
    credentials: Path | None = None


class KafkaDestination(Destination):
    """A topic of Kafka, or of a broker that speaks its protocol."""

    servers: Annotated[tuple[str, ...], Field(min_length=1)]
    topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
    user: str | None = None
    password_env: Variable | None = None
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"

    @property
    def has_tls(self) -> bool:
        """Whether its servers are reached by TLS."""
        return all(url.startswith("tls://") for url in self.servers)

    @model_validator(mode="after")
    def _keeps_its_password(self) -> "KafkaDestination":
        if len({url.partition("://")[0] for url in self.servers}) > 1:
            raise ValueError("servers: expected the same scheme for all of them")
        if (self.user is None) != (self.password_env is None):
            raise ValueError("user and password_env belong together")
        if self.user is not None and not self.has_tls:
            raise ValueError("a password is sent only to tls:// servers")
        return self


class Destinations(Document):
    """All destinations of a file."""

    version: Literal[1]
    http: tuple[HttpDestination, ...] = ()
    nats: tuple[NatsDestination, ...] = ()
    kafka: tuple[KafkaDestination, ...] = ()

    @property
    def all_destinations(self) -> tuple[HttpDestination | NatsDestination | KafkaDestination, ...]:
        """All of them, of any kind."""
        return (*self.http, *self.nats, *self.kafka)

    @model_validator(mode="after")
    def _names_differ(self) -> "Destinations":
        names = [destination.name for destination in self.all_destinations]
        if not names:
            raise ValueError("expected at least one destination: a table [[http]], [[nats]] or [[kafka]]")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two destinations are called {twice[0]}: each has a name of its own")
        return self


def read_destinations(path: Path) -> Destinations:
    """Read the file; `BadInput` gives the line and key of an error."""
    try:
        return load_document(Destinations, read_file(path, "file of destinations", FILE_LIMIT_BYTES))
    except BadDocument as error:
        raise BadInput(
            f"{path}: {error}", param=path, expected="a file of destinations", found=error
        ) from None
