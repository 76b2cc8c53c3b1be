"""Where a file lies that a record speaks of: at its URI, or, where it has none, where its digest leads."""

from render_service.storage.names import names_of, uri_of


def uris(storage_uri: str | None, sha256: str) -> list[str]:
    """Return the URIs to try; an original that was sent in another form was stored without one."""
    return [storage_uri] if storage_uri is not None else [uri_of(name) for name in names_of(sha256)]
