"""Where a file lies that a record speaks of: at its URI, or, where it has none, where its digest leads."""

from collections.abc import Iterator

from render_service.storage.assets import AssetStore
from render_service.storage.interface import CONTENT, SUFFIXES


def uris(assets: AssetStore, storage_uri: str | None, sha256: str) -> Iterator[str]:
    """Yield the URIs to look at; an original that was sent in another form was stored without one."""
    if storage_uri is not None:
        yield storage_uri
        return
    for suffix in (*SUFFIXES.values(), ".bin"):
        yield f"{assets.place.url}/{CONTENT}/{sha256[:2]}/{sha256}{suffix}"
