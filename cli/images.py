"""``--images "a.jpg,shots/*.jpg"``: paths and patterns, separated by commas, in the order they are given."""

from glob import glob, has_magic
from pathlib import Path
from typing import Literal

import click

NO_MATCH = "it matches no file; check the folder, and quote the pattern so that the shell leaves it alone"


def read_images(given: str) -> list[Path]:
    """Return every file that is named, once; those of one pattern in the order of their names."""
    if _at(Path(given)) == "file":  # a name may hold a comma
        return [Path(given)]
    paths: dict[Path, None] = {}
    for part in (part.strip() for part in given.split(",")):
        if not part:
            raise click.UsageError(f"--images {given!r}: nothing stands between two commas; leave one out")
        paths |= dict.fromkeys(_files(part))
    return list(paths)


def _files(part: str) -> list[Path]:
    path = Path(part).expanduser()
    found = _at(path)
    if found == "folder":
        raise click.UsageError(f"--images {part!r}: it is a folder; name its images, such as {part}/*.jpg")
    if found == "file" or not has_magic(part):
        return [path]
    names = sorted(Path(name) for name in glob(str(path), recursive=True))  # noqa: PTH207  # may be absolute
    files = [file for file in names if file.is_file()]
    if not files:
        raise click.UsageError(f"--images {part!r}: {NO_MATCH}")
    return files


def _at(path: Path) -> Literal["file", "folder", "nothing"]:
    try:
        if path.is_dir():
            return "folder"
        return "file" if path.exists() else "nothing"
    except OSError:  # a name longer than any file's
        return "nothing"
