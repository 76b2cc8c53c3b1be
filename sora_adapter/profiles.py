"""The servers we know, read from ``profiles.toml``: the wire protocol is the contract, a server is data.

Reading a profile costs no import of `openai`. A profile carries facts and makes no decision: whether a
retired server may be called is decided by who calls, what an unsupported operation is told by
`sora_adapter.capabilities`, and how a quirk is undone by `sora_adapter.quirks` and `sora_adapter.requests`.

People may bring profiles of their own: a file of the same shape, in which ``like = "litellm"`` takes over
everything of a known profile that the table does not say itself.
"""

import tomllib
from collections.abc import Mapping
from datetime import date
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from http import HTTPStatus
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from ledger.events import Status, SubmissionRejected, Variant
from sora_adapter.errors import SettingsUnusable, UnknownProfile

Ability = Literal[
    "create",
    "remix",
    "edit",
    "edit_upload",
    "extend",
    "character",
    "retrieve",
    "list",
    "delete",
    "content",
    "webhooks",
]
ExtraField = Literal["seed", "loop", "negative_prompt", "fps", "input_references"]
ReferenceForm = Literal["url", "file_id"]
Wanted = Ability | ExtraField | ReferenceForm | Variant

_OUR_WORDS = {status.value: status for status in Status}
TAKES_EFFECT_S = 600
"""How long after a call was begun it may still create a video, and the list not show it yet."""

_LIKE = "like"
_KEY = "[key]"  # how pydantic points at the key of a table instead of its value


class Quirk(StrEnum):
    """Where a server departs from the protocol so that data alone cannot say what to do about it."""

    IDS_REWRITTEN = "ids_rewritten"
    """A later answer may name the video by another id: the one of its creation stays the key."""
    FOREIGN_SOURCE_IDS = "foreign_source_ids"
    """``remixed_from_video_id`` is an id of another server, which this one cannot be asked for."""
    ERROR_IN_MESSAGE = "error_in_message"
    """The original error is JSON somewhere inside the message of the envelope."""
    PREFIXED_HEADERS = "prefixed_headers"
    """Headers of the server behind it begin with ``llm_provider-``."""
    COST_HEADER = "cost_header"
    """``x-litellm-response-cost`` says what a call cost, in dollars."""
    FAILED_JOB_IS_AN_HTTP_ERROR = "failed_job_is_an_http_error"
    """A failed job is answered with 4xx or 5xx, and the job is the body."""
    INTEGER_SECONDS = "integer_seconds"
    """``seconds`` is a number."""
    DELETION_SHOWS_THE_VIDEO = "deletion_shows_the_video"
    """A deletion is confirmed by the video, with status ``deleted``."""


class FreeRejection(BaseModel):
    """An answer to a submission after which nothing was created and nothing is charged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    http_status: int
    code: str | None = None
    because: str

    def matches(self, rejection: SubmissionRejected) -> bool:
        """Whether `rejection` is of this kind; without `code`, every error code of the status is."""
        if rejection.error.http_status != self.http_status:
            return False
        return self.code is None or rejection.error.code == self.code


class Profile(BaseModel):
    """One server: where it is, what it can do, what it calls things; ``profiles.toml`` explains the fields.

    `base_url` is None where the address is only known when the client is made. `key_variable` is the
    environment variable a person is told to set, `default_key` what is sent where nobody has one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
    title: str
    description: str
    base_url: str | None = None
    needs_key: bool
    key_variable: str
    default_key: str | None = None
    operations: frozenset[Ability]
    variants: tuple[Variant, ...] = tuple(Variant)
    unsupported: dict[Wanted, str] = Field(default_factory=dict)
    create_as: Literal["multipart", "multipart_only", "json", "json_only"] = "multipart"
    reference_by: dict[ReferenceForm, str] = Field(default_factory=dict)
    fields: frozenset[ExtraField] = frozenset()
    models: dict[str, str] = Field(default_factory=dict)
    status_words: dict[str, Status] = Field(default_factory=dict)
    quirks: dict[Quirk, str] = Field(default_factory=dict)
    refusal_is_proof: bool = True
    list_proves_absence: bool = False
    takes_effect_s: Annotated[int, Field(ge=0)] = TAKES_EFFECT_S
    free_rejections: tuple[FreeRejection, ...] = ()
    retired: date | None = None
    retired_hosts: tuple[str, ...] = ()
    retired_because: str | None = None

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if (self.retired is None) != (self.retired_because is None):
            raise ValueError(f"profile {self.name}: retired and retired_because belong together")
        if self.list_proves_absence and not self.can_list:
            raise ValueError(f"profile {self.name}: a list that is not there proves nothing")
        if self.free_rejections and not self.refusal_is_proof:
            raise ValueError(f"profile {self.name}: where a refusal proves nothing, none can be free")
        return self

    @property
    def can_list(self) -> bool:
        """Whether the server can be asked what it has."""
        return "list" in self.operations

    def offers(self, wanted: Wanted) -> bool:
        """Whether an operation, a variant, a form of input reference or a field exists on this server."""
        return wanted in self.operations | self.fields | set(self.variants) | self.reference_by.keys()

    def server_model(self, model: str) -> str:
        """Return what this server calls our `model`."""
        return self.models.get(model, model)

    def status_of(self, word: str) -> Status:
        """Return the status a server's `word` stands for; a word nobody knows is not terminal."""
        return self.status_words.get(word) or _OUR_WORDS.get(word, Status.IN_PROGRESS)

    def is_free(self, rejection: SubmissionRejected) -> bool:
        """Whether it is known that `rejection` created nothing and cost nothing."""
        return any(free.matches(rejection) for free in self.free_rejections)

    @property
    def capacity_is_free(self) -> bool:
        """Whether it is known that a refusal for want of capacity (429) creates nothing."""
        return any(free.http_status == HTTPStatus.TOO_MANY_REQUESTS for free in self.free_rejections)

    def is_retired_at(self, base_url: str | None) -> bool:
        """Whether the server at `base_url` (None: the profile's own) is one that was switched off.

        Of a profile that is retired and has no address, nothing is left.
        """
        address = base_url or self.base_url
        if self.retired is None or address is None:
            return self.retired is not None
        host = urlsplit(address).hostname or ""
        return any(host == gone or host.endswith(f".{gone}") for gone in self.retired_hosts)


@cache
def profiles(own: Path | None = None) -> Mapping[str, Profile]:
    """Return every profile by name, in the order of the file, then those of the file `own`.

    Raises `SettingsUnusable` if `own` cannot be read, is no profile, or takes a name that is taken.
    """
    known = tomllib.loads(resources.files("sora_adapter").joinpath("profiles.toml").read_text("utf-8"))
    ours = {name: Profile.model_validate({"name": name, **data}) for name, data in known.items()}
    theirs = {} if own is None else {name: _own(own, name, data, known) for name, data in _read(own).items()}
    return MappingProxyType(ours | theirs)


def profile(name: str, own: Path | None = None) -> Profile:
    """Return the profile called `name`; raises `UnknownProfile`."""
    known = profiles(own)
    if name not in known:
        raise UnknownProfile(f"no server profile is called {name!r} (there are: {', '.join(known)})")
    return known[name]


def _read(own: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(own.read_text("utf-8"))
    except OSError as error:
        raise SettingsUnusable(
            f"the profiles in {own} cannot be read ({error.strerror}); check SORA_LEDGER_PROFILES"
        ) from error
    except ValueError as error:
        raise SettingsUnusable(f"the profiles in {own} cannot be read ({error}); expected TOML") from error


def _own(own: Path, name: str, data: Any, known: Mapping[str, Any]) -> Profile:
    if name in known:
        raise SettingsUnusable(f"{own}: {name} is a profile of ours; give yours another name")
    if not isinstance(data, dict):
        raise SettingsUnusable(f"{own}: {name} is no table; a profile begins with a line [{name}]")
    like = data.get(_LIKE)
    if like is not None and like not in known:
        raise SettingsUnusable(f"{own}: [{name}] is like {like!r}, which is none of {', '.join(known)}")
    said = {key: value for key, value in data.items() if key != _LIKE}
    try:
        return Profile.model_validate({**known.get(str(like), {}), **said, "name": name})
    except ValidationError as error:
        raise SettingsUnusable(f"{own}: [{name}] is no profile: {_first(error)}") from error


def _first(error: ValidationError) -> str:
    complaint = error.errors()[0]
    place = ".".join(str(step) for step in complaint["loc"] if step != _KEY) or "profile"
    if complaint["type"] == "extra_forbidden":
        near = get_close_matches(place, Profile.model_fields, n=1)
        return f"there is no key {place}" + (f"; did you mean {near[0]}?" if near else "")
    return f"{place}: {complaint['msg'].removeprefix('Value error, ')}"
