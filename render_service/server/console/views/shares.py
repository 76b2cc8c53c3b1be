"""Links to one video or its evidence for people without a key: making, listing and revoking them."""

from collections.abc import Mapping, Sequence

from starlette.datastructures import FormData

from decision.rules.roles import Permission
from render_service.access.shares import MOST_DAYS, Share, Shared, create_share, revoke_share, shares_of
from render_service.access.signing import Signer, open_signer
from render_service.runtime.errors import BadInput, NotPermitted
from render_service.server.console.jobs import find_job
from render_service.server.console.pages import PREFIX, Action, Done, Page, View, Visit, text_of
from render_service.server.console.security import own_origin

PATH = "/videos/{name}/shares"
MAY_SHARE: Mapping[Shared, tuple[Permission, ...]] = {
    "video": (Permission.REQUEST, Permission.REVIEW, Permission.APPROVE, Permission.OPERATE),
    "bundle": (Permission.AUDIT, Permission.OPERATE),
}
"""Who may show what to people without a key, if they see it themselves."""


class Link(View):
    """A link that was made."""

    share_id: str
    of: str
    state: str
    created_by: str
    created_at: str
    expires_at: str
    revoked_by: str | None
    revoked_at: str | None
    position: int


class SharesView(View):
    """The page."""

    job_id: str
    has_video: bool
    may_share: tuple[str, ...]
    most_days: int
    links: tuple[Link, ...]


def read(visit: Visit) -> SharesView:
    """Read the links of a job, newest first."""
    job = find_job(visit, visit.part("name"))
    shares = shares_of(visit.session.ledger, job.job_id)
    return SharesView(
        job_id=job.job_id,
        has_video=bool(job.assets),
        may_share=tuple(of for of in MAY_SHARE if _may_share(visit, of)),
        most_days=MOST_DAYS,
        links=tuple(_link(share, visit) for share in reversed(shares)),
    )


def rows(view: SharesView) -> Sequence[Mapping[str, object]]:
    """Return the table of links."""
    return [link.model_dump() for link in view.links]


def _may_share(visit: Visit, of: Shared) -> bool:
    return any(visit.may(permission) for permission in MAY_SHARE[of])


def _link(share: Share, visit: Visit) -> Link:
    revoked = share.revoked
    ended = "valid" if share.is_valid(visit.now) else "ended"
    return Link(
        share_id=share.event.share_id,
        of=share.event.of,
        state="revoked" if revoked else ended,
        created_by=share.created.actor,
        created_at=share.created.recorded_at,
        expires_at=share.event.expires_at,
        revoked_by=revoked.actor if revoked else None,
        revoked_at=revoked.recorded_at if revoked else None,
        position=share.created.position,
    )


async def share(visit: Visit, form: FormData) -> Done:
    """Make a link, whose address is shown once."""
    job, days = find_job(visit, visit.part("name")), text_of(form, "days")
    of = next((permission for permission in MAY_SHARE if permission == form.get("of")), None)
    if of is None:
        raise BadInput("choose what the link shows: the video, or its evidence")
    if not _may_share(visit, of):
        roles = " or ".join(MAY_SHARE[of])
        raise NotPermitted(f"a link to the {of} is made by those who may {roles}")
    if not (days.isascii() and days.isdecimal()):
        raise BadInput(f"expected a number of days, from 1 to {MOST_DAYS}, found {days[:20]!r}")
    made, text = await create_share(visit.session, _signer(visit), job, of, int(days[:6]))
    return Done(
        f"/videos/{job.job_id}/shares",
        f"Everyone with this address sees the {of} until {made.event.expires_at[:10]}, without a key.",
        shown_once=f"{own_origin(visit.request)}{PREFIX}/shared/{text}",
    )


async def revoke(visit: Visit, form: FormData) -> Done:
    """Revoke a link; also one that another person made."""
    if not any(_may_share(visit, of) for of in MAY_SHARE):
        raise NotPermitted("links are revoked by those who may make them")
    job = find_job(visit, visit.part("name"))
    await revoke_share(visit.session, job, text_of(form, "share_id"))
    return Done(f"/videos/{job.job_id}/shares", "The link shows nothing any more.")


def _signer(visit: Visit) -> Signer:
    return open_signer(visit.session.settings, visit.session.ledger.ledger_id)


PAGE = Page(PATH, "Share", "shares.html", read, rows=rows, menu=False)
ACTIONS = (
    Action(f"{PATH}/new", PATH, Permission.READ, share),
    Action(f"{PATH}/revoke", PATH, Permission.READ, revoke),
)
