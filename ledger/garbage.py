"""How often Python searches for circular garbage, where many objects live and none of them are circular."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_OBJECTS_PER_COLLECTION = 100_000


@contextmanager
def collect_rarely() -> Iterator[None]:
    """Have Python search for circular garbage less often than by default, after each 700 new objects."""
    thresholds = gc.get_threshold()
    gc.set_threshold(_OBJECTS_PER_COLLECTION, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
