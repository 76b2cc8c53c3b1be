"""``open``: show the stored video of a job in this machine's video player."""

from pathlib import Path

import click

from cli.invocation import Invocation, say
from cli.options import common
from cli.options.job_names import last_job
from cli.text.output import has_screen
from ledger.job import Job
from ledger.log.ledger import Ledger
from ledger.terms import State, Variant
from render_service.assets.names import SUFFIXES
from render_service.assets.store import AssetStore
from render_service.runtime.errors import NotAsStored, NotReady
from render_service.settlement.settle import link_stored

_FETCHED = (State.RUNNING, State.COMPLETED)


@click.command("open")
@common.maybe_job_id
@click.option(
    "--variant",
    type=click.Choice([variant.value for variant in Variant]),
    metavar="NAME",
    default=Variant.VIDEO.value,
    show_default=True,
    help="video, thumbnail or spritesheet.",
)
@click.option("--print", "prints", is_flag=True, help="Print the path; open nothing.")
@common.invocation
def open_command(inv: Invocation, *, name: str | None, variant: str, prints: bool) -> None:
    """Open the stored video of a job, by default your last one; without a display, print its path.

    Videos are also linked in the folder `videos` of the asset store, named by day, prompt and id.

    \b
    Example:
      sora-ledger open @last
      mpv "$(sora-ledger open job_01a2 --print --format text)"
    """
    wanted = Variant(variant)
    with inv.reader() as ledger:
        job = ledger.job(name or last_job(inv.settings))
        assets = AssetStore.of(inv.settings)
        path = find_stored_path(ledger, assets, job, wanted)
    opened = not prints and has_screen() and click.launch(str(path)) == 0
    document = {"job_id": job.job_id, "variant": wanted.value, "path": str(path), "opened": opened}
    inv.emit(document, lambda console: console.print(str(path), markup=False, soft_wrap=True))
    if not prints and not opened:
        say("there is no screen here to open it on" if not has_screen() else "no program opened it")


def find_stored_path(ledger: Ledger, assets: AssetStore, job: Job, variant: Variant) -> Path:
    """Return the path of a stored file: the link made for people, if there is one.

    `NotReady` says what to do if the file is not stored.
    """
    asset = job.assets.get(variant)
    if asset and (doubt := assets.doubt(asset.storage_uri, asset.sha256)):
        raise NotAsStored(
            f"{asset.storage_uri} of {job.job_id} is not opened: {doubt}",
            param="job",
            expected="the recorded file",
            found=doubt,
        )
    path = assets.path(asset.storage_uri) if asset else None
    if path is None or not path.is_file():
        way = "poll" if job.state in _FETCHED else "download"
        step = (
            f"`sora-ledger {way} {job.job_id}` stores it"
            if job.video_id and variant is Variant.VIDEO
            else f"`sora-ledger download {job.job_id} --variant {variant}` stores it"
            if job.video_id
            else f"`sora-ledger show {job.job_id}` says why"
        )
        raise NotReady(
            f"{job.job_id} is {job.state}, and its {variant} is not stored here: {step}",
            param="job",
            expected="a stored file",
            found=f"a {job.state} job without it",
        )
    if path.suffix not in SUFFIXES.values():  # a viewer chosen by its suffix might run it
        raise NotAsStored(
            f"{path} of {job.job_id} is not opened: it is named like no video and no image",
            param="job",
            expected="a file named like a video or an image",
            found=path,
        )
    link = link_stored(ledger, assets, job) if variant is Variant.VIDEO else None
    return (link or path).absolute()
