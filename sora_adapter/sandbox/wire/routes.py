"""Which operation of the API a request asks for, told from its method and path: for layers around the app."""

import re

from starlette.types import Scope

_ID = r"(?P<id>[^/]+)"
_ROUTES = (
    ("create", "POST", r"/v1/videos"),
    ("list", "GET", r"/v1/videos"),
    ("edit", "POST", r"/v1/videos/edits"),
    ("extend", "POST", r"/v1/videos/extensions"),
    ("character", "POST", r"/v1/videos/characters"),
    ("get-character", "GET", rf"/v1/videos/characters/{_ID}"),
    ("retrieve", "GET", rf"/v1/videos/{_ID}"),
    ("delete", "DELETE", rf"/v1/videos/{_ID}"),
    ("content", "GET", rf"/v1/videos/{_ID}/content"),
    ("remix", "POST", rf"/v1/videos/{_ID}/remix"),
)
_PATTERNS = [(operation, method, re.compile(path)) for operation, method, path in _ROUTES]
OPERATIONS = tuple(operation for operation, _, _ in _ROUTES)


def operation_of(scope: Scope) -> tuple[str | None, str | None]:
    """Return the operation and the id in the path; None where there is none."""
    if scope["type"] != "http":
        return None, None
    for operation, method, path in _PATTERNS:
        found = path.fullmatch(scope["path"]) if scope["method"] == method else None
        if found:
            return operation, found.groupdict().get("id")
    return None, None


def path_of(operation: str, video_id: str | None) -> str:
    """Return the path of an operation on a video."""
    path = next(path for known, _, path in _ROUTES if known == operation)
    return path.replace(_ID, video_id or "")
