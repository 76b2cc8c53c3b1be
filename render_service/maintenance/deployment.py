"""Check an installation that other people depend on, beyond the needs of a single render.

The checks read settings, the database's own account of the user's rights, and this process: its user, its
limits, its folders. They record nothing, and no finding contains a secret.
"""

import os
import resource
import stat
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from ledger.errors import LedgerError
from ledger.log.urls import label_of
from render_service.maintenance.setup import CheckResult, Finding
from render_service.runtime.errors import ServiceError
from render_service.runtime.settings import SANDBOX, Settings
from render_service.webhooks.endpoints import webhook_secrets

LEAST_OPEN_FILES = 1100
"""A server takes 800 connections and keeps 200 descriptors for files and the database."""

MOUNTS = Path("/proc/self/mountinfo")
_FORGETFUL = {"tmpfs", "ramfs", "overlay", "aufs"}
"""File systems that do not outlive the machine or the container."""

_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs"}
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def checkup_of_deployment(settings: Settings) -> Iterator[Finding]:
    """Yield the finding of each check."""
    yield _check_role(settings)
    yield _check_user()
    yield _check_server(settings)
    yield _check_answers(settings)
    yield _check_places(settings)
    yield _check_console(settings)
    yield _check_webhooks(settings)
    yield _check_key(settings.key_file)
    yield _check_limits()


def _check_role(settings: Settings) -> Finding:
    """Check that the database role cannot rewrite records, or that the file is on a local disk."""
    if settings.ledger_path is not None:
        path = settings.ledger_path.absolute()
        kind = file_system_of(path)
        if kind in _REMOTE:
            fix = "keep a SQLite ledger on a local disk, or use PostgreSQL: its locks fail on a network"
            return Finding("role", CheckResult.WRONG, f"{path} is on a network file system ({kind})", fix)
        says = "SQLite has no roles: who may write the file may replace it; publish checkpoints"
        return Finding("role", CheckResult.OK, says)
    from ledger.store.postgres.grants import standing  # only the store in use is loaded

    try:
        rights = standing(settings.ledger_url)
    except LedgerError as error:
        return Finding("role", CheckResult.SKIPPED, f"the database could not be asked: {error}")
    where = f"{label_of(settings.ledger_url)} as {rights.user}"
    if not rights.has_ledger:
        fix = "as the owner: sora-ledger init --role NAME --apply"
        return Finding("role", CheckResult.WRONG, f"{where}: there is no ledger yet", fix)
    if rights.may_rewrite:
        fix = "use a role that owns nothing: sora-ledger init --role NAME --apply"
        return Finding("role", CheckResult.WRONG, f"{where}: owns the tables, so it can change records", fix)
    return Finding("role", CheckResult.OK, f"{where}: can append to the log, and change nothing there")


def _check_user() -> Finding:
    if os.geteuid() == 0:
        fix = "run it as a user of its own, as the units, the image and the manifests in deploy/ do"
        return Finding("user", CheckResult.WRONG, "this process is root", fix)
    return Finding("user", CheckResult.OK, f"user {os.geteuid()}, not root")


def _check_server(settings: Settings) -> Finding:
    """Check that renders are real, and that the key does not cross a network in the clear."""
    if settings.chosen_profile() == SANDBOX:
        fix = "name the server: SORA_LEDGER_PROFILE and its address"
        return Finding(
            "upstream", CheckResult.WRONG, "the profile is the sandbox, which renders test clips", fix
        )
    url = urlsplit(settings.base_url or "https:")
    if url.scheme == "https":
        return Finding("upstream", CheckResult.OK, "reached by https")
    if _is_inside(url.hostname or ""):
        return Finding("upstream", CheckResult.OK, f"{url.hostname} is reached by http inside this network")
    fix = "use https, or a server on this machine or in its network"
    return Finding("upstream", CheckResult.WRONG, f"the key is sent to {url.hostname} without TLS", fix)


def _is_inside(host: str) -> bool:
    """Return whether a host is in this network: a private address, or an internal name."""
    try:
        return ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".internal", ".local", ".svc", ".cluster.local"))


def _check_answers(settings: Settings) -> Finding:
    """Check that a paid answer survives a restart if the ledger cannot record it."""
    folder = settings.spool_folders("ledger")[-1].parent.parent
    kind = file_system_of(folder)
    if kind in _FORGETFUL:
        fix = "mount a volume there, or set XDG_DATA_HOME to one"
        says = f"{folder} is on {kind}: answers the ledger could not record would be lost with it"
        return Finding("answers", CheckResult.WRONG, says, fix)
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        fix = "let this user write there: it is where paid answers go that the ledger cannot take"
        return Finding("answers", CheckResult.WRONG, f"{place} cannot be written", fix)
    return Finding("answers", CheckResult.OK, f"{folder} ({kind}) can keep what the ledger cannot record")


def _check_places(settings: Settings) -> Finding:
    if settings.assets_url:
        return Finding("files", CheckResult.OK, "in a bucket, which every machine reaches")
    folder = settings.assets_folder.absolute()
    kind = file_system_of(folder)
    if kind in _FORGETFUL:
        fix = "mount a volume there, or name a bucket: SORA_LEDGER_ASSETS=s3://…"
        return Finding(
            "files", CheckResult.WRONG, f"{folder} is on {kind}: videos would be lost with it", fix
        )
    note = "; every process has to see the same folder" if settings.ledger_path is None else ""
    return Finding("files", CheckResult.OK, f"{folder} ({kind}){note}")


def _check_console(settings: Settings) -> Finding:
    if settings.console_url is None:
        return Finding(
            "console", CheckResult.OK, "on this machine only; a proxy needs SORA_LEDGER_CONSOLE_URL"
        )
    if settings.console_secret is None and settings.ledger_path is None:
        fix = "give all instances the same SORA_LEDGER_CONSOLE_SECRET"
        says = "every instance would sign its own cookies, and sign people out who reach another"
        return Finding("console", CheckResult.WRONG, says, fix)
    return Finding(
        "console", CheckResult.OK, f"at {settings.console_url}, behind a proxy that terminates TLS"
    )


def _check_webhooks(settings: Settings) -> Finding:
    try:
        secrets = webhook_secrets(settings)
    except ServiceError as error:
        return Finding(
            "webhooks", CheckResult.WRONG, str(error), "`sora-ledger webhook register` prints a secret"
        )
    inward = "received for " + ", ".join(secrets) if secrets else "none received: renders are polled"
    outward = "also into this network" if settings.private_endpoints else "to public addresses only"
    return Finding("webhooks", CheckResult.OK, f"{inward}; sent {outward}")


def _check_key(path: Path | None) -> Finding:
    if path is None:
        says = "no SORA_LEDGER_KEY: checkpoints are signed only where --key names one"
        return Finding("signing", CheckResult.OK, says)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        fix = "check SORA_LEDGER_KEY; `sora-ledger key new` makes a key"
        return Finding("signing", CheckResult.WRONG, f"{path}: {error.strerror}", fix)
    if mode & _OTHERS:
        return Finding("signing", CheckResult.WRONG, f"{path} can be read by others", f"chmod 600 {path}")
    return Finding("signing", CheckResult.OK, f"{path} is readable by its owner only")


def _check_limits() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < LEAST_OPEN_FILES:
        fix = f"raise it to {LEAST_OPEN_FILES} or more: LimitNOFILE= of the unit, `ulimits` of the container"
        return Finding("limits", CheckResult.WRONG, f"{soft} open files are too few for `serve`", fix)
    return Finding("limits", CheckResult.OK, "enough open files for `serve`")


def file_system_of(path: Path, mounts: Path = MOUNTS) -> str:
    """Return the type of the file system that `path` is, or would be, on; "unknown" if undetermined."""
    place = next(parent for parent in (path, *path.parents) if parent.exists()).resolve()
    best, kind = Path("/"), "unknown"
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return kind
    for line in lines:  # 36 35 98:0 /root /mount/point options … - type source options
        before, _, after = line.partition(" - ")
        point = Path(before.split(" ")[4].replace("\\040", " "))
        if place.is_relative_to(point) and len(point.parts) >= len(best.parts):
            best, kind = point, after.split(" ")[0]
    return kind
