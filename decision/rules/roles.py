"""Roles: the permissions that a policy gives to the holders of access keys; pure data."""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated

from pydantic import StringConstraints


class Permission(StrEnum):
    """A permission of a caller."""

    REQUEST = "request"
    READ = "read"
    APPROVE = "approve"
    REVIEW = "review"
    AUDIT = "audit"
    OPERATE = "operate"
    CHARGE = "charge"
    """Name the paying team, in requests under a key without a team."""
    ADMINISTER = "administer"


RoleName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$", max_length=64)]
Roles = Mapping[str, tuple[str, ...]]

DEFAULT_ROLES: Roles = MappingProxyType(
    {
        "requester": ("request", "read"),
        "approver": ("read", "approve"),
        "reviewer": ("read", "review"),
        "auditor": ("read", "audit"),
        "operator": ("request", "read", "review", "audit", "operate", "charge"),
        "administrator": ("read", "administer"),
    }
)
"""The roles of a policy that has no ``[roles]``."""


def permissions_of(roles: Roles, names: Iterable[str]) -> frozenset[Permission]:
    """Return the joint permissions of the roles called `names`; an unknown role permits nothing."""
    known = set(Permission)
    return frozenset(Permission(word) for name in names for word in roles.get(name, ()) if word in known)


def roles_with(roles: Roles, permission: Permission) -> list[str]:
    """Return the roles that permit `permission`."""
    return [name for name, words in roles.items() if permission in words]


def warn_unknown_permissions(roles: Roles) -> Iterator[str]:
    """Yield a warning for each unknown permission, which permits nothing."""
    for name, words in roles.items():
        for word in words:
            if word not in set(Permission):
                yield f"role {name}: there is no permission {word} ({', '.join(Permission)})"
