"""The options of a new render other than its prompt, under every name that people know.

`common.shape` has the names of the Sora skill; here are those of image2video (``--images``, ``--duration``,
``--width``, ``--height``, ``--seed``, ``--loop``) and the ways to a first frame. Commands hand both to
`gather`.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from glob import glob, has_magic
from pathlib import Path
from typing import Any, Literal

import click

from cli.invocation import say
from cli.options import words
from cli.options.command import OfServers, RequestCommand
from cli.text.usage import Usage
from decision.request.attachments import SERVER_OPTIONS, SEVERAL_IMAGES, flag_of
from decision.request.dimensions import nearest_offer, read_size, size_of
from decision.request.request import DEFAULT_SIZE, RenderRequest
from decision.rules.catalog import Catalog
from render_service.assets.fit import Fit, Frame, as_found, first_frame, read_fit
from render_service.assets.inputs import NOTHING, Material

NO_MATCH = "it matches no file; check the folder, and quote the pattern so that the shell leaves it alone"


def read_images(text: str) -> list[Path]:
    """Return every given file once; the files of a pattern are sorted by name."""
    if _classify_path(Path(text)) == "file":  # a name may contain a comma
        return [Path(text)]
    paths: dict[Path, None] = {}
    for part in (part.strip() for part in text.split(",")):
        if not part:
            raise Usage(
                f"--images {text!r}: there is nothing between two commas; leave one out",
                param="images",
                expected="names between commas",
                found="nothing",
            )
        paths |= dict.fromkeys(_files(part))
    return list(paths)


def _files(part: str) -> list[Path]:
    path = Path(part).expanduser()
    found = _classify_path(path)
    if found == "folder":
        raise Usage(
            f"--images {part!r}: it is a folder; name its images, such as {part}/*.jpg",
            param="images",
            expected="files",
            found="a folder",
        )
    if found == "file" or not has_magic(part):
        return [path]
    names = sorted(Path(name) for name in glob(str(path), recursive=True))  # noqa: PTH207  # may be absolute
    files = [file for file in names if file.is_file()]
    if not files:
        raise Usage(
            f"--images {part!r}: {NO_MATCH}", param="images", expected="a file that exists", found=part
        )
    return files


def _classify_path(path: Path) -> Literal["file", "folder", "nothing"]:
    try:
        if path.is_dir():
            return "folder"
        return "file" if path.exists() else "nothing"
    except OSError:  # a name longer than any file's
        return "nothing"


@dataclass(frozen=True)
class Ingredients:
    """The values of the options of `add_ingredient_options`, as typed."""

    images: str | None
    input_reference_url: str | None
    input_reference_file_id: str | None
    character_ids: tuple[str, ...]
    fit: str | None
    duration: str | None
    width: str | None
    height: str | None
    options: Mapping[str, str | bool | None]
    all_images: bool | None
    nearest: bool | None

    def first_flag(self) -> str | None:
        """Return the flag of the first option that was typed; None if there was none."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values |= values.pop("options")
        return next((flag_of(name) for name, value in values.items() if value not in (None, ())), None)

    def request_values(self) -> dict[str, Any]:
        """Return the options named like a value of a request, which become it unchanged."""
        names = {field.name for field in fields(self)} & RenderRequest.model_fields.keys() - {"options"}
        return {name: getattr(self, name) for name in names}


class LoopCommand(RequestCommand):
    """Takes ``--loop true`` and ``--loop false`` for ``--loop`` and ``--no-loop``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse `args` with the value of ``--loop`` turned into a flag."""
        return super().parse_args(ctx, loop_as_flag(args))


def loop_as_flag(args: list[str]) -> list[str]:
    """Return `args` with ``--loop VALUE`` and ``--loop=VALUE`` as a flag; other words are unchanged."""
    flags = {"true": "--loop", "false": "--no-loop"}
    plain: list[str] = []
    for word in args:
        if plain and plain[-1] == "--loop" and word.lower() in flags:
            plain[-1] = flags[word.lower()]
        else:
            value = word.removeprefix("--loop=").lower()
            plain.append(flags.get(value, word) if word.startswith("--loop=") else word)
    return plain


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "-i",
        "--images",
        metavar="A,B",
        help="Images or quoted patterns, separated by commas; the first one becomes the first frame.",
    ),
    click.option(
        "--all-images/--first-image",
        default=None,
        help="Send all images, or only the first.  [default: all, if the profile takes several]",
    ),
    click.option("--input-reference-url", metavar="URL", help="First frame: an https or data URL."),
    click.option("--input-reference-file-id", metavar="ID", help="First frame: a file on the server."),
    click.option(
        "--character-id",
        "character_ids",
        metavar="ID",
        multiple=True,
        help="A character that appears; repeatable, at most two.",
    ),
    click.option(
        "--fit",
        metavar="HOW",
        shell_complete=words.fits,
        help="Fit the image to the size: cover (crop), contain (blurred bars) or pad (black bars).",
    ),
    click.option("--duration", metavar="N", help="Same as --seconds."),
    click.option("--width", metavar="PIXELS", help="With --height: same as --size."),
    click.option("--height", metavar="PIXELS", help="With --width: same as --size."),
    click.option(
        "--nearest",
        is_flag=True,
        default=None,
        help="Use the nearest size and length on offer, and say so.",
    ),
    *(
        click.option(
            f"{flag_of(name)}/--no-{flag_of(name)[2:]}", cls=OfServers, default=None, help=option.help
        )
        if option.example is None
        else click.option(flag_of(name), cls=OfServers, metavar="N", help=option.help)
        for name, option in SERVER_OPTIONS.items()
    ),
)


def add_ingredient_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add these options; the function gets them as one value, `extra`."""

    @functools.wraps(function)
    def command(*args: Any, **rest: Any) -> Any:
        options = {name: rest.pop(name) for name in SERVER_OPTIONS}
        values = {field.name: rest.pop(field.name) for field in fields(Ingredients) if field.name in rest}
        return function(*args, extra=Ingredients(**values, options=options), **rest)

    decorated: Any = command
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]  # click's decorator keeps the function


list_models_option = click.option("--list-models", "models", is_flag=True, help="List the models and exit.")


def gather(
    extra: Ingredients,
    catalog: Catalog,
    *,
    model: str,
    size: str | None,
    seconds: str | None,
    input_reference: Path | None,
    takes_several: Callable[[], bool],
) -> tuple[dict[str, Any], Material]:
    """Return the values of a request, named as in `RenderRequest`, and its files.

    `takes_several` tells whether the server accepts several images; it is called only if there are several.
    """
    seconds = _choose_one("--seconds", seconds, "--duration", extra.duration)
    paths = _paths(extra, input_reference)
    fit = read_fit(extra.fit)
    if extra.nearest:
        wished = _pixels(extra, size)
        near = nearest_offer(wished, seconds, catalog, model)
        for change in near.changes:
            say(f"--nearest: {change}")
        size, seconds = near.size, near.seconds
        if paths and fit is None and size != wished:
            fit = Fit.COVER
            say(f"--nearest: the image is cut to {size} (--fit cover)")
    else:
        size = _size(extra, size, model, catalog)
    if fit and not paths:
        raise Usage(
            "--fit is about an image file; name one with --images or --input-reference",
            param="fit",
            expected="--images or --input-reference",
            found="neither",
        )
    several = extra.all_images
    if several is None:
        several = len(paths) > 1 and takes_several()
    first, further = _frames(paths, size, fit, catalog, sends_all=several)
    values = {
        "model": model,
        "size": size,
        "seconds": seconds,
        "input_reference": first.image if first else None,
        "further_images": tuple(frame.image for frame in further),
        "reference_url": extra.input_reference_url,
        "reference_file_id": extra.input_reference_file_id,
        "options": {**extra.options, SEVERAL_IMAGES: several},
        **extra.request_values(),
    }
    contents = tuple(frame.content for frame in further)
    originals = tuple(frame.original for frame in further)
    if first is None:
        return values, NOTHING
    material = Material(reference=first.content, original=first.original, further=contents)
    return values, replace(material, further_originals=originals)


def _choose_one(flag: str, value: str | None, other_flag: str, other: str | None) -> str | None:
    if value is not None and other is not None and value != other:
        raise Usage(
            f"{flag} {value} and {other_flag} {other} mean the same; give one",
            param=flag.lstrip("-").replace("-", "_"),
            expected=f"one of {flag} and {other_flag}",
            found="both",
        )
    return other if value is None else value


def _size(extra: Ingredients, size: str | None, model: str, catalog: Catalog) -> str | None:
    if extra.width is None and extra.height is None:
        return size
    pixels = size_of(extra.width, extra.height, catalog, model)
    return _choose_one("--size", size, "--width and --height", pixels)


def _pixels(extra: Ingredients, size: str | None) -> str | None:
    """Return the requested size as typed, in either form, whether it is offered or not."""
    if extra.width is None or extra.height is None:
        return size if extra.width is None and extra.height is None else _refuse_size(extra)
    return _choose_one("--size", size, "--width and --height", f"{extra.width}x{extra.height}")


def _refuse_size(extra: Ingredients) -> str:
    raise Usage(
        f"--width {extra.width} --height {extra.height}: they belong together; use --size 1280x720",
        param="size",
        expected="both --width and --height",
        found="one of them",
    )


def _paths(extra: Ingredients, input_reference: Path | None) -> list[Path]:
    if extra.images is None:
        return [input_reference] if input_reference else []
    if input_reference:
        raise Usage(
            "--images and --input-reference both name the first frame; give one",
            param="images",
            expected="one of --images and --input-reference",
            found="both",
        )
    return read_images(extra.images)


def _frames(
    paths: list[Path], size: str | None, fit: Fit | None, catalog: Catalog, *, sends_all: bool
) -> tuple[Frame | None, list[Frame]]:
    """Read every image; only the first is fitted, and images that are sent lose their metadata."""
    if not paths:
        return None, []
    wanted = read_size(size, catalog) if size else DEFAULT_SIZE
    read_further = first_frame if sends_all else as_found
    first, further = first_frame(paths[0], wanted, fit), [read_further(path) for path in paths[1:]]
    return first, further
