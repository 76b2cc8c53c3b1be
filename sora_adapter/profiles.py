"""The known servers, read from ``profiles.toml``: the wire protocol is the contract, a server is data.

Reading a profile does not import `openai`. A profile holds facts: the caller decides whether a retired server
may be called, and `sora_adapter.outcomes` and `sora_adapter.requests` handle quirks. `require` checks before
anything is sent that a server offers what is needed, and says what is missing, why, and what to do instead.

Users can add profiles in a file of the same format, in which ``like = "litellm"`` copies everything from a
known profile that the table does not set itself.
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
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from ledger.events import SubmissionRejected
from ledger.terms import Status, Variant
from sora_adapter.errors import OperationUnsupported, SettingsUnusable, UnknownProfile

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
    "moderations",
]
ExtraField = Literal["seed", "loop", "negative_prompt", "fps", "input_references"]
ReferenceForm = Literal["url", "file_id"]
Wanted = Ability | ExtraField | ReferenceForm | Variant

_OUR_WORDS = {status.value: status for status in Status}
TAKES_EFFECT_S = 600
"""How long after its start a call may still create a video that the list does not show yet."""

_LIKE = "like"
_KEY = "[key]"  # pydantic's marker for the key of a table rather than its value


class Quirk(StrEnum):
    """Departures from the protocol that need code rather than data."""

    IDS_REWRITTEN = "ids_rewritten"
    """Later answers may use another id for the video; the id from its creation stays the key."""
    FOREIGN_SOURCE_IDS = "foreign_source_ids"
    """``remixed_from_video_id`` is an id of another server, unknown to this one."""
    ERROR_IN_MESSAGE = "error_in_message"
    """The original error is JSON somewhere inside the message of the envelope."""
    PREFIXED_HEADERS = "prefixed_headers"
    """Headers of the server behind the gateway begin with ``llm_provider-``."""
    COST_HEADER = "cost_header"
    """``x-litellm-response-cost`` holds the cost of a call, in dollars."""
    FAILED_JOB_IS_AN_HTTP_ERROR = "failed_job_is_an_http_error"
    """A failed job is answered with 4xx or 5xx and the job as the body."""
    INTEGER_SECONDS = "integer_seconds"
    """``seconds`` is a number."""
    DELETION_SHOWS_THE_VIDEO = "deletion_shows_the_video"
    """A deletion is confirmed by the video, with status ``deleted``."""


class FreeRejection(BaseModel):
    """An answer to a submission that proves that nothing was created and nothing is charged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    http_status: int
    code: str | None = None
    because: str

    def matches(self, rejection: SubmissionRejected) -> bool:
        """Whether `rejection` matches; without `code`, any error code of the status is."""
        if rejection.error.http_status != self.http_status:
            return False
        return self.code is None or rejection.error.code == self.code


class Profile(BaseModel):
    """One server: its address, what it offers, and its names; ``profiles.toml`` explains the fields.

    `base_url` is None if the address is known only when the client is created. `key_variable` is the
    environment variable that holds the key, `default_key` is sent if there is none.
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
            raise ValueError(f"profile {self.name}: without a list, nothing is proved by it")
        if self.free_rejections and not self.refusal_is_proof:
            raise ValueError(f"profile {self.name}: if a refusal proves nothing, none can be free")
        return self

    @property
    def can_list(self) -> bool:
        """Whether the server lists its videos."""
        return "list" in self.operations

    def offers(self, wanted: Wanted) -> bool:
        """Whether the server offers an operation, a variant, a kind of input reference or a field."""
        return wanted in self.operations | self.fields | set(self.variants) | self.reference_by.keys()

    def server_model(self, model: str) -> str:
        """Return this server's name for our `model`."""
        return self.models.get(model, model)

    def status_of(self, word: str) -> Status:
        """Return the status for a server's `word`; an unknown word is not final."""
        return self.status_words.get(word) or _OUR_WORDS.get(word, Status.IN_PROGRESS)

    def is_free(self, rejection: SubmissionRejected) -> bool:
        """Whether `rejection` provably created nothing and cost nothing."""
        return any(free.matches(rejection) for free in self.free_rejections)

    @property
    def capacity_is_free(self) -> bool:
        """Whether a refusal for lack of capacity (429) provably creates nothing."""
        return any(free.http_status == HTTPStatus.TOO_MANY_REQUESTS for free in self.free_rejections)

    def is_retired_at(self, base_url: str | None) -> bool:
        """Whether the server at `base_url` (None: the profile's) was switched off.

        A retired profile without an address is retired everywhere.
        """
        address = base_url or self.base_url
        if self.retired is None or address is None:
            return self.retired is not None
        host = urlsplit(address).hostname or ""
        return any(host == gone or host.endswith(f".{gone}") for gone in self.retired_hosts)


@cache
def profiles(own: Path | None = None) -> Mapping[str, Profile]:
    """Return every profile by name, in file order, followed by the profiles of the file `own`.

    Raises `SettingsUnusable` if `own` cannot be read, is invalid, or redefines a known name.
    """
    known = tomllib.loads(resources.files("sora_adapter").joinpath("profiles.toml").read_text("utf-8"))
    ours = {name: Profile.model_validate({"name": name, **data}) for name, data in known.items()}
    theirs = (
        {} if own is None else {name: _read_own(own, name, data, known) for name, data in _read(own).items()}
    )
    return MappingProxyType(ours | theirs)


def profile(name: str, own: Path | None = None) -> Profile:
    """Return the profile called `name`; raises `UnknownProfile`."""
    known = profiles(own)
    if name not in known:
        raise UnknownProfile(
            f"no server profile is called {name!r} (there are: {', '.join(known)})",
            param="profile",
            expected=", ".join(known),
            found=name,
        )
    return known[name]


def _read(own: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(own.read_text("utf-8"))
    except OSError as error:
        raise SettingsUnusable(
            f"the profiles in {own} cannot be read ({error.strerror}); check SORA_LEDGER_PROFILES",
            param="SORA_LEDGER_PROFILES",
            expected="a file that can be read",
            found=error.strerror,
        ) from error
    except ValueError as error:
        raise SettingsUnusable(
            f"the profiles in {own} cannot be read ({error}); expected TOML",
            param="SORA_LEDGER_PROFILES",
            expected="TOML",
            found=error,
        ) from error


def _read_own(own: Path, name: str, data: Any, known: Mapping[str, Any]) -> Profile:
    if name in known:
        raise SettingsUnusable(
            f"{own}: {name} is a built-in profile; give yours another name",
            param="SORA_LEDGER_PROFILES",
            expected="a name of its own",
            found=f"{name}, a built-in profile",
        )
    if not isinstance(data, dict):
        raise SettingsUnusable(
            f"{own}: {name} is not a table; a profile begins with a line [{name}]",
            param="SORA_LEDGER_PROFILES",
            expected=f"a table [{name}]",
            found="another value",
        )
    like = data.get(_LIKE)
    if like is not None and like not in known:
        raise SettingsUnusable(
            f"{own}: [{name}] is like {like!r}, which is not one of {', '.join(known)}",
            param="SORA_LEDGER_PROFILES",
            expected=", ".join(known),
            found=like,
        )
    own_fields = {key: value for key, value in data.items() if key != _LIKE}
    try:
        return Profile.model_validate({**known.get(str(like), {}), **own_fields, "name": name})
    except ValidationError as error:
        raise SettingsUnusable(
            f"{own}: [{name}] is not a valid profile: {_first(error)}",
            param="SORA_LEDGER_PROFILES",
            expected="a valid profile",
            found=_first(error),
        ) from error


def _first(error: ValidationError) -> str:
    complaint = error.errors()[0]
    place = ".".join(str(step) for step in complaint["loc"] if step != _KEY) or "profile"
    if complaint["type"] == "extra_forbidden":
        near = get_close_matches(place, Profile.model_fields, n=1)
        return f"there is no key {place}" + (f"; did you mean {near[0]}?" if near else "")
    return f"{place}: {complaint['msg'].removeprefix('Value error, ')}"


_NAMES: dict[Wanted, str] = {
    "create": "new videos",
    "remix": "remixes",
    "edit": "edits of a video it has",
    "edit_upload": "edits of an uploaded video",
    "extend": "extensions",
    "character": "characters",
    "retrieve": "the status of a video",
    "list": "a list of its videos",
    "delete": "deletions",
    "content": "downloads",
    "webhooks": "webhook endpoints",
    "moderations": "moderations",
    "url": "an input reference by URL",
    "file_id": "an input reference by file id",
    "seed": "a seed",
    "loop": "loops",
    "negative_prompt": "a negative prompt",
    "fps": "a choice of frames per second",
    "input_references": "several input references",
    Variant.THUMBNAIL: "thumbnails",
    Variant.SPRITESHEET: "spritesheets",
    Variant.VIDEO: "the video itself",
}


def require(profile: Profile, *wanted: Wanted) -> None:
    """Raise `OperationUnsupported` for the first thing of `wanted` that the server does not offer."""
    for thing in wanted:
        if not profile.offers(thing):
            raise OperationUnsupported(
                f"profile {profile.name} does not offer {_NAMES[thing]}: {_explain_lack(profile, thing)} "
                "(nothing was sent)",
                param="profile",
                expected=f"a profile that offers {_NAMES[thing]}",
                found=profile.name,
            )


def _explain_lack(profile: Profile, wanted: Wanted) -> str:
    offered = ", ".join(ability for ability in get_args(Ability) if profile.offers(ability))
    return profile.unsupported.get(wanted) or f"its server has {offered}; use the profile of one that can"


def check_base_url(profile: Profile, base_url: str | None) -> str:
    """Return the base URL to use, None meaning the profile's; `SettingsUnusable` if it is invalid."""
    url = base_url or profile.base_url
    if url is None:
        raise SettingsUnusable(
            f"profile {profile.name} needs the address of a server; set OPENAI_BASE_URL",
            param="OPENAI_BASE_URL",
            expected="the address of a server",
            found="nothing",
        )
    try:
        parts = urlsplit(url)
        (parts.hostname or "").encode("idna")
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0 and " " not in url
    except ValueError:
        usable = False
    if not usable:
        raise SettingsUnusable(
            f"base URL {url!r} cannot be used; expected one like https://host/v1",
            param="OPENAI_BASE_URL",
            expected="an address like https://host/v1",
            found=url,
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise SettingsUnusable(
            f"the base URL of {parts.hostname} must not hold a user, a query or a fragment; "
            f"a key belongs in {profile.key_variable}",
            param="OPENAI_BASE_URL",
            expected="an address without user, query and fragment",
            found="one with them",
        )
    return url.rstrip("/")


def check_key(profile: Profile, api_key: str | None) -> str | None:
    """Return the key to use; `SettingsUnusable` if it is missing and needed, or cannot be sent."""
    key = (api_key or "").strip()
    if not key and profile.needs_key:
        raise SettingsUnusable(
            f"profile {profile.name} needs a key; set {profile.key_variable}",
            param=profile.key_variable,
            expected="a key",
            found="nothing",
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise SettingsUnusable(
            f"the key in {profile.key_variable} holds a space or a character no key has; copy it again",
            param=profile.key_variable,
            expected="a key without spaces",
            found="one with a space or another character that no key has",
        )
    return key or None
