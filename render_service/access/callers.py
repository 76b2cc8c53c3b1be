"""The caller of one request: identity, permissions, and a session that acts in their name."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from decision.rules.roles import Permission, Roles, permissions_of, roles_with
from ledger.job import Job
from ledger.record import ActorSource, Authority
from ledger.store.filters import JobFilter
from render_service.access.register import AccessKey
from render_service.rules.budget_names import actor_word, parse_name, person_of
from render_service.runtime.errors import NotPermitted
from render_service.runtime.settings import check_word
from render_service.runtime.spans import REQUEST
from render_service.runtime.telemetry import Trace, begin_trace
from render_service.session.session import Session

SEES_EVERYTHING = frozenset(
    {Permission.APPROVE, Permission.REVIEW, Permission.AUDIT, Permission.OPERATE, Permission.ADMINISTER}
)
"""Permissions whose holders see the jobs of others, unless their key is restricted to a team."""

SEES_LEDGER = frozenset({Permission.AUDIT, Permission.OPERATE, Permission.ADMINISTER})
"""Permissions whose holders also see the records about policies, budgets and access."""


@dataclass(frozen=True)
class Caller:
    """An identified caller, with the permissions of their roles; None does not restrict."""

    name: str
    source: ActorSource
    roles: tuple[str, ...]
    permissions: frozenset[Permission]
    team: str | None = None
    project: str | None = None
    profiles: tuple[str, ...] | None = None
    purposes: tuple[str, ...] | None = None
    key_id: str | None = None
    requests_per_minute: int | None = None
    running_jobs: int | None = None
    roles_in_force: Roles | None = None
    """The roles of the policy in force, so that a refusal can name the sufficient ones."""

    def check(self, permission: Permission) -> None:
        """Raise `NotPermitted` unless a role of the caller has `permission`."""
        if permission in self.permissions:
            return
        would_do = roles_with(self.roles_in_force or {}, permission)
        how = (
            f"an administrator grants a key with such a role: `sora-ledger access grant {self.name} "
            f"--role {would_do[0]}`"
            if would_do
            else "no role of the policy in force has it"
        )
        raise NotPermitted(
            f"{self.name} has the roles {', '.join(self.roles) or 'none'}, and none of them permits "
            f"{permission} (roles that do: {', '.join(would_do) or 'none'}): {how}",
            expected=f"a role that permits {permission}: {', '.join(would_do) or 'none'}",
            found=", ".join(self.roles) or "none",
        )

    def check_profile(self, name: str) -> None:
        """Raise `NotPermitted` if the key is restricted to other server profiles."""
        self._check_one_of("profile", name, self.profiles)

    def check_purpose(self, name: str) -> None:
        """Raise `NotPermitted` if the key is restricted to other purposes."""
        self._check_one_of("purpose", name, self.purposes)

    def may_see(self, job: Job) -> bool:
        """Return whether the caller may see `job`.

        With a team, those are the team's jobs and the caller's own jobs without a team. Without a team they
        are the caller's own, or all jobs if a permission covers the jobs of others.
        """
        return self.owns(job.actor, job.team) or (
            self.team is None and bool(self.permissions & SEES_EVERYTHING)
        )

    def owns(self, actor: str, team: str | None) -> bool:
        """Return whether a job that `actor` made for `team` is the caller's own, or their agent's."""
        if self.team is not None and team is not None:
            return team == self.team
        return person_of(actor) == self.name

    def may_see_budget(self, budget: str) -> bool:
        """Return whether the caller may see a budget: their own, their team's, or all that others pay from.

        A shared budget is visible to callers who see the jobs of others and have a key without a team.
        """
        name = parse_name(budget)
        if name is not None and name.actor == actor_word(self.name):
            return True
        if self.team is not None:
            return name is not None and name.team == self.team
        return bool(self.permissions & SEES_EVERYTHING)

    @property
    def operates_everything(self) -> bool:
        """Whether the caller may use server-only knowledge, which belongs to no team."""
        return self.team is None and Permission.OPERATE in self.permissions

    @property
    def sees_ledger(self) -> bool:
        """Whether the caller may see the records that belong to no job."""
        return self.team is None and bool(self.permissions & SEES_LEDGER)

    @property
    def sees(self) -> tuple[JobFilter, ...]:
        """The jobs that the caller may see, as disjoint list filters."""
        if self.team is not None:
            return JobFilter(of_team=self.team), JobFilter(of_actor=self.name, teamless=True)
        return (JobFilter() if self.permissions & SEES_EVERYTHING else JobFilter(of_actor=self.name),)

    def session(
        self,
        session: Session,
        *,
        team: str | None = None,
        project: str | None = None,
        trace: Trace | None = None,
    ) -> Session:
        """Return a session that acts as this caller, in a new trace; it shares everything else.

        Raises `NotPermitted` for a `team` or `project` whose budgets the caller may not spend, `BadInput` for
        an invalid name. The keys of this process never sign for a caller.
        """
        team, project = check_word("team", team), check_word("project", project)
        self._check_payer("team", team, self.team)
        self._check_payer("project", project, self.project)
        chosen = session.settings.profile_name
        if self.profiles is not None and session.settings.chosen_profile() not in self.profiles:
            chosen = self.profiles[0] if self.profiles else chosen
        trace = trace or REQUEST.get() or begin_trace({})
        settings = replace(
            session.settings,
            actor=self.name,
            actor_source=self.source,
            team=self.team or team,
            project=self.project or project,
            profile_name=chosen,
            access_key_id=self.key_id,
            key_file=None,
            request_key_file=None,
        )
        return replace(
            session,
            settings=settings,
            trace=trace,
            log=session.log.of(trace),
            authority=Authority.HUMAN,
        )

    def _check_payer(self, what: str, named: str | None, own: str | None) -> None:
        """Raise `NotPermitted` unless the caller may spend the budgets of the team or project `named`.

        Within its own team, a key without a project may name any project. A key without a team needs the
        permission to charge others.
        """
        if named is None or named == own:
            return
        if own is not None:
            raise NotPermitted(
                f"the key of {self.name} is for the {what} {own}, not for {named}: leave the {what} out, or "
                f"use a key of {named}",
                param=what,
                expected=own,
                found=named,
            )
        if self.team is None and Permission.CHARGE not in self.permissions:
            would_do = roles_with(self.roles_in_force or {}, Permission.CHARGE)
            raise NotPermitted(
                f"{self.name} has no team, so the {what} {named} does not pay for their requests: leave the "
                f"{what} out, or use a key that was granted with --team, or with a role that permits "
                f"{Permission.CHARGE} (roles that do: {', '.join(would_do) or 'none'})",
                param=what,
                expected=f"no {what}",
                found=named,
            )

    def _check_one_of(self, what: str, named: str, permitted: Sequence[str] | None) -> None:
        if permitted is not None and named not in permitted:
            raise NotPermitted(
                f"the key of {self.name} does not permit the {what} {named} "
                f"(permitted: {', '.join(permitted) or 'none'})",
                param=what,
                expected=", ".join(permitted) or "none",
                found=named,
            )


def caller_of(key: AccessKey, roles: Roles) -> Caller:
    """Return the caller for `key` under these roles, whether it is valid or not."""
    grant = key.grant
    return Caller(
        name=grant.name,
        source=ActorSource.ACCESS_KEY,
        roles=grant.roles,
        permissions=permissions_of(roles, grant.roles),
        team=grant.team,
        project=grant.project,
        profiles=grant.profiles,
        purposes=grant.purposes,
        key_id=grant.key_id,
        requests_per_minute=grant.requests_per_minute,
        running_jobs=grant.running_jobs,
        roles_in_force=roles,
    )
