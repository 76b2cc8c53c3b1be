"""Settings of a sandbox; two sandboxes with the same `data_dir` serve the same jobs."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Media = Literal["rendered", "cached"]


@dataclass(frozen=True)
class SandboxSettings:
    """The behaviour of a sandbox.

    `render_seconds` is how long a new job takes by `clock` (seconds since 1970); a job keeps the value it was
    created with. `api_key` None accepts any Bearer key. `media` "cached" serves one real clip per size and
    length instead of one per job. Content expires `expire_seconds` after completion.

    `requests_per_minute` and `running_jobs` limit the new jobs of each model; None is no limit. `permissive`
    is for third-party tests: video_123, char_123 and whe_123 always exist, and unknown models and uploads
    that are not images or videos are accepted.

    `faults` are specifications of `sora_adapter.sandbox.faults`; `imitates` names a server whose deviations
    from the protocol are imitated, one of `sora_adapter.sandbox.emulators.NAMES`.
    """

    data_dir: Path
    render_seconds: float = 8.0
    api_key: str | None = None
    media: Media = "rendered"
    expire_seconds: int = 3600
    clock: Callable[[], float] = time.time
    requests_per_minute: int | None = None
    running_jobs: int | None = None
    permissive: bool = False
    faults: tuple[str, ...] = ()
    imitates: str | None = None
