"""What a sandbox is told when it starts; two sandboxes with the same `data_dir` serve the same jobs."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Media = Literal["rendered", "cached"]


@dataclass(frozen=True)
class SandboxSettings:
    """How a sandbox behaves.

    `render_seconds` is how long the life of a new job takes by `clock` (seconds since 1970); a job keeps the
    value it was made with. `api_key` None accepts any Bearer key. `media` "cached" serves one real clip for
    every size and length instead of one for every job. Content is gone `expire_seconds` after completion.
    """

    data_dir: Path
    render_seconds: float = 8.0
    api_key: str | None = None
    media: Media = "rendered"
    expire_seconds: int = 3600
    clock: Callable[[], float] = time.time
