"""The files of a job that a command copies, and their targets; conflicts are refused before any spending."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.text.usage import Usage
from ledger.job import Job
from ledger.terms import Variant
from render_service.assets.names import SUFFIXES
from render_service.assets.store import check_target
from render_service.settlement.download import USUAL_TYPE
from render_service.settlement.settle import fetch

if TYPE_CHECKING:
    from render_service.session.session import Session


@dataclass(frozen=True)
class Copies:
    """The variants to copy to `out`, or each under the video's id into the working folder."""

    variants: Sequence[Variant]
    out: Path | None
    force: bool

    def check(self, job: Job) -> None:
        """Refuse to replace files before any is fetched; `out` was checked when it was parsed."""
        if self.out is None:
            for variant in self.variants:
                check_target(_target(job, variant), force=self.force)

    def find_not_stored(self, job: Job) -> list[Variant]:
        """Return the variants that are only on the server."""
        return [variant for variant in self.variants if variant not in job.assets]

    async def make(self, session: "Session", job: Job) -> tuple[Job, list[Path]]:
        """Store the variants that are not stored yet, and copy them."""
        self.check(job)
        copied = []
        for variant in self.variants:
            job = await fetch(session, job, variant)
            target = self.out or _target(job, variant)
            session.assets.copy_out(job.assets[variant].storage_uri, target, force=self.force)
            copied.append(target)
        return job, copied


def add_copy_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --variant, --out and --force; the function gets `copies`."""

    @click.option(
        "--variant",
        "variants",
        multiple=True,
        metavar="NAME",
        type=click.Choice(["video", "thumbnail", "spritesheet", "all"]),
        help="video, thumbnail, spritesheet or all; repeatable.  [default: video]",
    )
    @click.option(
        "--out",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Copy the file here.  [default: VIDEO_ID.mp4 in the working folder]",
    )
    @click.option("--force", is_flag=True, help="Replace an existing file.")
    @functools.wraps(function)
    def command(*args: Any, variants: tuple[str, ...], out: Path | None, force: bool, **rest: Any) -> Any:
        return function(*args, copies=_copies(variants, out, force=force), **rest)

    return command


def _copies(names: Sequence[str], out: Path | None, *, force: bool) -> Copies:
    every = list(Variant)
    named = [Variant(name) for name in dict.fromkeys(names or ["video"]) if name != "all"]
    copies = Copies(every if "all" in names else named, out, force)
    if out is not None:
        if len(copies.variants) > 1:
            raise Usage(
                "--out names one file; leave it out, or give one --variant",
                param="out",
                expected="one --variant",
                found="several",
            )
        check_target(out, force=force)
    return copies


def _target(job: Job, variant: Variant) -> Path:
    """Return the path of a variant in the working folder, with the usual suffix if it is not stored yet."""
    media_type = job.assets[variant].media_type if variant in job.assets else USUAL_TYPE[variant]
    kind = "" if variant is Variant.VIDEO else f".{variant}"
    return Path(f"{job.video_id}{kind}{SUFFIXES.get(media_type, '.bin')}")
