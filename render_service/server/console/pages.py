"""Pages and actions of the console, and their input: the visit of one signed-in person.

A page is one GET: its `read` returns a model, which is shown with the page's template, or answered as JSON
under the same path with ``.json``, and as CSV with ``.csv`` if it is a table. An action is one POST from a
form of a page; it records what the person did, and redirects to a page with a message.
`render_service.server.console_routes` lists them all.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from decision.rules.roles import Permission
from ledger.job import Job
from ledger.log.replica import ReadFrom
from render_service.access.callers import Caller
from render_service.runtime.errors import ServiceError
from render_service.runtime.ledger_process import read_path_prefix
from render_service.session.session import Session

PREFIX = f"{read_path_prefix()}/console"
SHARED = "/shared/"
"""Below the prefix: the content of shared links."""

LONGEST_QUERY = 1_000
"""Characters of a parameter that pages read; a longer one is cut, and matches nothing."""

MOST_FORM_BYTES = 512 * 1024


class NotHere(ServiceError):
    """There is no such page, or nothing that this person may see."""


class View(BaseModel):
    """A page's data; the base class of the models that `Page.read` returns."""

    model_config = ConfigDict(frozen=True, extra="forbid")


async def always() -> bool:
    """Return True: the default check of a session that nothing can end."""
    return True


@dataclass(frozen=True)
class Visit:
    """One request of a signed-in person; `session` acts as that person, and reads the same ledger."""

    request: Request
    caller: Caller
    session: Session
    now: datetime
    csrf: str = ""
    """The form token of this session."""
    typed: Mapping[str, Any] = field(default_factory=dict)
    """The fields of a form that was refused, to be shown again."""
    problem: str | None = None
    """The reason for the refusal."""
    read_from: ReadFrom | None = None
    """The source of the page, if the ledger has a replica."""
    still_signed_in: Callable[[], Awaitable[bool]] = always
    """For streams: whether the key is still valid, and the session has not ended."""

    def query(self, name: str) -> str | None:
        """Return a parameter of the address, without spaces around it; None if it is empty."""
        text = self.request.query_params.get(name, "")[:LONGEST_QUERY].strip()
        return text or None

    def queries(self, name: str) -> list[str]:
        """Return all values of a parameter that may be repeated."""
        texts = (text[:LONGEST_QUERY].strip() for text in self.request.query_params.getlist(name))
        return [text for text in texts if text]

    def part(self, name: str) -> str:
        """Return a part of the path, such as the id in ``/videos/{id}``."""
        return str(self.request.path_params[name])

    def may(self, permission: Permission | str) -> bool:
        """Return whether a role of the person has `permission`."""
        return permission in self.caller.permissions

    def may_see(self, job: Job) -> bool:
        """Return whether the person may see `job`."""
        return self.caller.may_see(job)


@dataclass(frozen=True)
class Page:
    """A page; `path` is below the console's, and may have parts such as ``/videos/{id}``."""

    path: str
    title: str
    template: str
    read: Callable[[Visit], BaseModel]
    """Reads the ledger, in a thread."""
    permission: Permission = Permission.READ
    rows: Callable[[Any], Sequence[Mapping[str, object]]] | None = None
    """The table of the model that `read` returned, for CSV."""
    menu: bool = True
    headers: Mapping[str, str] | None = None
    """Headers that replace the default headers."""
    count: Callable[[Visit], int] | None = None
    """How many things on it wait for the person, for the menu; it must be quick, as every page shows it."""


@dataclass(frozen=True)
class Done:
    """A completed action: the page to go to, below the console's path, and the message to show there.

    `shown_once` is a secret that is shown on that page, and never again; it is not sent as an address.
    """

    location: str
    message: str
    shown_once: str | None = None


@dataclass(frozen=True)
class Action:
    """A POST from a form on the page with the path `page`, which shows it again if it is refused.

    The parts of both paths have the same names. A macro renders the form, with the token that proves its
    origin.
    """

    path: str
    page: str
    permission: Permission
    do: Callable[[Visit, FormData], Awaitable[Done | BaseModel]]
    """Returns the redirect; or the model of the page, for an action that only shows and changes nothing."""
    most_bytes: int = MOST_FORM_BYTES
    """Maximum size of the form; larger only for uploads."""


@dataclass(frozen=True)
class Endpoint:
    """A GET that answers with something other than a page: a file, an image, a stream of events."""

    path: str
    permission: Permission
    answer: Callable[[Visit], Awaitable[Response]]


def text_of(form: FormData, name: str) -> str:
    """Return what was typed in a field, without spaces around it; empty for a file, or without the field."""
    value = form.get(name, "")
    return value.strip() if isinstance(value, str) else ""


def without_secret(path: str) -> str:
    """Return a path for the log: without the secret of a shared link, below any prefix."""
    before, shared, rest = path.partition("/console" + SHARED)
    secret, slash, after = rest.partition("/")
    return f"{before}{shared}{'…' if secret else ''}{slash}{after}"
