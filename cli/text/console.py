"""A rich console that text from others cannot control."""

import os
from collections.abc import Iterator
from errno import EPIPE

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook
from rich.segment import Segment

from render_service.runtime.printable import printable


def safe_console(*, stderr: bool, width: int | None) -> Console:
    """Return a console that folds no line of data, so that an id, a path or a command can be copied."""
    console = _Console(stderr=stderr, highlight=False, soft_wrap=not stderr, width=width)
    console.push_render_hook(_Printable())
    return console


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Reraise the error, where rich would end the program: the caller knows the exit code."""
        raise BrokenPipeError(EPIPE, os.strerror(EPIPE))


class _Printable(RenderHook):
    """Filters everything printed, after markup and before colours become escape sequences."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_PrintableRenderable(renderable) for renderable in renderables]


class _PrintableRenderable:
    def __init__(self, renderable: ConsoleRenderable) -> None:
        self._renderable = renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self._renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)
