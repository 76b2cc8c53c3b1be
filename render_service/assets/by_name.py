"""A folder for people beside the stored files: a link to each video, named by its day, its prompt and its id.

``assets/videos/2026-11-30-a-teal-coupe-ca0e8877.mp4`` leads to ``assets/sha256/…``. The links are made when a
video is stored and when it is opened. They are a convenience: nothing reads them, and a link that cannot be
made never fails the command that stored a paid video. A link has words of the prompt in its name, so it is
removed when the prompt or the file is erased. Only a local folder has them, no bucket.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ledger.job import Job
from ledger.log.job_names import handle_of
from ledger.private_files import make_folders
from ledger.terms import Variant
from render_service.assets.folder import FolderPlace
from render_service.assets.store import AssetStore
from render_service.runtime.files import slug

FOLDER = "videos"


def link_video(assets: AssetStore, job: Job, prompt: str | None) -> Path | None:
    """Link the stored video of `job` under its name and return the link; None if there is no local file.

    An earlier link of the job, under the name it had before its prompt was erased, say, is replaced.
    """
    asset = job.assets.get(Variant.VIDEO)
    path = assets.locate(asset.storage_uri) if asset else None
    if path is None or not isinstance(path.place, FolderPlace):
        return None
    stored = path.place.folder / path.name
    link = assets.folder / FOLDER / _name(job, prompt, stored.suffix)
    with suppress(OSError):
        if link.samefile(stored):
            return link
    unlink_video(assets, job)
    try:
        make_folders(link.parent)
        _link(stored, link)
    except OSError:  # a folder without links, or without room: the file itself is there
        return None
    return link


def unlink_video(assets: AssetStore, job: Job) -> None:
    """Remove the links to the video of `job`."""
    for link in _links_of(assets, job):
        with suppress(OSError):
            link.unlink()


def _links_of(assets: AssetStore, job: Job) -> Iterator[Path]:
    yield from (assets.folder / FOLDER).glob(f"{_day(job)}-*{handle_of(job.job_id)}.*")


def _name(job: Job, prompt: str | None, suffix: str) -> str:
    words = [slug(prompt)] if prompt else []
    return "-".join([_day(job), *words, handle_of(job.job_id)]) + suffix


def _day(job: Job) -> str:
    return job.created_at[:10]


def _link(stored: Path, link: Path) -> None:
    """Make a symbolic link that survives a move of the whole folder; a hard link where there are none."""
    try:
        link.symlink_to(os.path.relpath(stored, link.parent))
    except FileExistsError:  # another process has just made it
        return
    except OSError:
        link.hardlink_to(stored)
