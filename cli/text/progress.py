"""How far a long command has come, on stderr: a bar on a terminal, a line now and then elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cli.invocation import Invocation, say
from cli.text import output

LINES = 10


@contextmanager
def progress(inv: Invocation, what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield what is to be told how many are done, of how many."""
    if not inv.shows_progress:
        yield _lines(what)
        return
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=output.console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(what: str) -> Callable[[int, int], None]:
    told = -1

    def tell(done: int, total: int) -> None:
        nonlocal told
        tenth = LINES * done // max(total, 1)
        if tenth > told:
            told = tenth
            say(f"{what}: {done} of {total}")

    return tell
