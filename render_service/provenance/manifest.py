"""Read the C2PA manifest of a file with the reader of the C2PA project (extra ``c2pa``).

The reader runs in this process. It has its own limits for nesting, and these apply as well:

- a manifest of more than `MOST_MANIFEST_BYTES` is not read;
- reading takes `LONGEST_READ_S` and a second for each `BYTES_PER_S` at most: the file is read through
  `TimedFile`, which fails after that;
- one file is read at a time, because the library hashes in pieces of up to 256 MB;
- nothing is loaded from the network.

Any defect of an untrusted manifest makes it `invalid`.
"""

import hashlib
import io
import json
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from render_service.provenance.embedded import source_type_term
from render_service.runtime.documents import Json
from render_service.runtime.errors import BadInput
from render_service.runtime.files import read_file

if TYPE_CHECKING:
    from c2pa import Context

INSTALL = "pip install 'sora-ledger[c2pa]'"
MOST_MANIFEST_BYTES = 32 << 20
LONGEST_READ_S = 20.0
BYTES_PER_S = 20_000_000
MOST_INGREDIENTS = 32
MOST_FAILURES = 16
LONGEST_TEXT = 200
TRUST_LIMIT_BYTES = 4 << 20
UNTRUSTED = "signingCredential.untrusted"
TOO_LARGE, TOO_SLOW, UNREADABLE = "manifest.too_large", "manifest.too_slow", "manifest.unreadable"
RELATIONSHIPS = ("parentOf", "componentOf", "inputTo")

Relationship = Literal["parentOf", "componentOf", "inputTo"]
Validity = Literal["trusted", "unknown_signer", "valid", "invalid"]

_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class TrustList:
    """Certificates of authorities, in PEM, whose signers are trusted."""

    pem: str
    sha256: str

    @classmethod
    def read(cls, path: Path, what: str = "trust list") -> "TrustList":
        """Read the file at `path`, called `what` in errors; `BadInput` if it contains no certificate."""
        from cryptography import x509  # noqa: PLC0415  # only where a list was named

        content = read_file(path, what, TRUST_LIMIT_BYTES)
        try:
            x509.load_pem_x509_certificates(content)
            return cls(content.decode(), hashlib.sha256(content).hexdigest())
        except ValueError as error:
            raise BadInput(
                f"{what} {path}: expected certificates in PEM form, as `certificate` files are ({error})",
                param=what,
                expected="certificates in PEM form, as `certificate` files are",
                found=error,
            ) from None


@dataclass(frozen=True)
class Ingredient:
    """An ingredient of the file according to a manifest."""

    relationship: Relationship
    title: str | None
    has_manifest: bool


@dataclass(frozen=True)
class Manifest:
    """The active manifest of a file; `store` is the reader's complete output.

    `stamp` tells whether a time-stamping authority dated the signature, and whether it is on the trust list.
    """

    validity: Validity
    failures: tuple[str, ...] = ()
    signer: str | None = None
    issuer: str | None = None
    algorithm: str | None = None
    signed_at: str | None = None
    stamp: Literal["trusted", "unknown_authority"] | None = None
    generator: str | None = None
    digital_source_type: str | None = None
    ingredients: tuple[Ingredient, ...] = ()
    store: Json = field(default_factory=dict, repr=False)

    def assertion(self, label: str) -> Json | None:
        """Return the data of the assertion called `label` in the active manifest."""
        for entry in _dicts(_find_active(self.store).get("assertions")):
            if entry.get("label") == label and isinstance(entry.get("data"), dict):
                data: Json = entry["data"]
                return data
        return None


def is_installed() -> bool:
    """Return whether manifests can be read here."""
    return find_spec("c2pa") is not None


def check_installed() -> None:
    """Raise `BadInput` if the extra is missing."""
    if not is_installed():
        raise BadInput(
            f"C2PA manifests need the extra c2pa: {INSTALL}",
            param="c2pa",
            expected="the extra c2pa",
            found="it is not installed",
        )


@cache
def reader_version() -> str:
    """Return the name and version of the reader, as recorded."""
    import c2pa  # an extra

    return f"c2pa {c2pa.sdk_version()}"[:LONGEST_TEXT]


def context(trust: TrustList | None, *, builder: Json | None = None) -> "Context":
    """Return the settings of the C2PA library: no network, small buffers, no thumbnails.

    `sign_copy` reads the signed copy back, so the library need not do so as well.
    """
    from c2pa import Context  # an extra

    settings: dict[str, Any] = {
        "core": {"backing_store_memory_threshold_in_mb": 32, "allowed_network_hosts": []},
        "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_after_sign": False},
        "builder": {"thumbnail": {"enabled": False}, **(builder or {})},
    }
    if trust is not None:
        settings["trust"] = {"trust_anchors": trust.pem}
    return Context.from_dict(settings)


class TimedFile(io.BufferedReader):
    """A file that becomes unreadable after a deadline, so that reading a hostile one ends."""

    def __init__(self, path: Path, longest_s: float) -> None:
        super().__init__(path.open("rb", buffering=0))
        self._until = time.monotonic() + longest_s + path.stat().st_size / BYTES_PER_S
        self.is_late = False

    def readinto(self, buffer: Any, /) -> int:
        """Read, before the deadline."""
        self._check()
        return super().readinto(buffer)

    def seek(self, target: int, whence: int = 0, /) -> int:
        """Move, before the deadline."""
        self._check()
        return super().seek(target, whence)

    def _check(self) -> None:
        if time.monotonic() > self._until:
            self.is_late = True
            raise TimeoutError("reading the manifest took too long")


def read_manifest(
    path: Path,
    media_type: str,
    trust: TrustList | None,
    manifest_bytes: int | None = None,
    *,
    longest_s: float | None = None,
) -> Manifest | None:
    """Return the manifest of the file at `path`; None if the file has none, or its format cannot have one.

    `longest_s` replaces `LONGEST_READ_S` for a file that was written here.
    """
    from c2pa import C2paError, Reader  # an extra

    if (manifest_bytes or 0) > MOST_MANIFEST_BYTES:
        return Manifest("invalid", (TOO_LARGE,))
    with _one_at_a_time, TimedFile(path, LONGEST_READ_S if longest_s is None else longest_s) as file:
        try:
            with context(trust) as settings, Reader(media_type, file, context=settings) as reader:
                text = reader.json()
        except (C2paError.ManifestNotFound, C2paError.NotSupported):
            return None
        except (C2paError, ValueError):  # also text that is not Unicode
            return Manifest("invalid", (TOO_SLOW if file.is_late else UNREADABLE,))
    try:
        store = json.loads(text)
        return _manifest(store, has_list=trust is not None)
    except (RecursionError, TypeError, ValueError, KeyError, AttributeError):
        return Manifest("invalid", (UNREADABLE,))


def _manifest(store: Json, *, has_list: bool) -> Manifest:
    active = _find_active(store)
    signature = active.get("signature_info") or {}
    codes = list(_failures(store))
    return Manifest(
        validity=_validity(store, codes, has_list=has_list),
        failures=tuple(dict.fromkeys(code for code in codes if code != UNTRUSTED))[:MOST_FAILURES],
        signer=_text(signature.get("common_name")),
        issuer=_text(signature.get("issuer")),
        algorithm=(_text(signature.get("alg")) or "").lower() or None,
        signed_at=_text(signature.get("time")),
        stamp=_stamp(store),
        generator=_generator(active),
        digital_source_type=_source_type(store, active),
        ingredients=tuple(_ingredients(active))[:MOST_INGREDIENTS],
        store=store,
    )


def _validity(store: Json, codes: Iterable[str], *, has_list: bool) -> Validity:
    state = store.get("validation_state")
    if state == "Trusted":
        return "trusted"
    if state != "Valid":
        return "invalid"
    return "unknown_signer" if has_list and UNTRUSTED in codes else "valid"


def _failures(store: Json) -> Iterator[str]:
    """Yield the codes of failed validations, of the active manifest and then of its ingredients."""
    results = store.get("validation_results") or {}
    parts = [results.get("activeManifest") or {}]
    parts += [delta.get("validationDeltas") or {} for delta in _dicts(results.get("ingredientDeltas"))]
    for part in parts:
        for failure in _dicts(part.get("failure")):
            code = str(failure.get("code", ""))
            if code.isascii() and code.isprintable():
                yield code[:LONGEST_TEXT]


def _stamp(store: Json) -> Literal["trusted", "unknown_authority"] | None:
    results = (store.get("validation_results") or {}).get("activeManifest") or {}
    codes = {entry.get("code") for entry in _dicts(results.get("success"))}
    if "timeStamp.validated" not in codes:
        return None
    return "trusted" if "timeStamp.trusted" in codes else "unknown_authority"


def _find_active(store: Json) -> Json:
    return _find_labelled(store, store.get("active_manifest")) or {}


def _find_labelled(store: Json, label: Any) -> Json | None:
    manifest = (store.get("manifests") or {}).get(label) if isinstance(label, str) else None
    return manifest if isinstance(manifest, dict) else None


def _generator(active: Json) -> str | None:
    for entry in _dicts(active.get("claim_generator_info")):
        return _text(" ".join(str(entry[name]) for name in ("name", "version") if entry.get(name)))
    return _text(active.get("claim_generator"))


def _source_type(store: Json, active: Json) -> str | None:
    """Return the digital source type of the active manifest, or of the file it was made from."""
    manifest: Json | None = active
    for _ in range(MOST_INGREDIENTS):
        if manifest is None:
            return None
        for assertion in _dicts(manifest.get("assertions")):
            if str(assertion.get("label", "")).startswith("c2pa.actions"):
                for action in _dicts((assertion.get("data") or {}).get("actions")):
                    term = source_type_term(str(action.get("digitalSourceType", "")))
                    if term is not None:
                        return term
        manifest = _find_labelled(store, _parent_label(manifest))
    return None


def _parent_label(manifest: Json) -> Any:
    for entry in _dicts(manifest.get("ingredients")):
        if entry.get("relationship") == "parentOf":
            return entry.get("active_manifest")
    return None


def _ingredients(active: Json) -> Iterator[Ingredient]:
    for entry in _dicts(active.get("ingredients")):
        relationship = entry.get("relationship")
        if relationship in RELATIONSHIPS:
            yield Ingredient(relationship, _text(entry.get("title")), bool(entry.get("active_manifest")))


def _dicts(value: Any) -> list[Json]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    """Return untrusted text in one short line; None if there is none."""
    if not isinstance(value, str):
        return None
    return "".join(letter for letter in value if letter.isprintable())[:LONGEST_TEXT].strip() or None
