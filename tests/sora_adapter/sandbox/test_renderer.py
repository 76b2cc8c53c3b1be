"""Each file is made once, and appears only when it is whole."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sora_adapter.sandbox import renderer as studio_module
from sora_adapter.sandbox.media.planes import RenderStoppedError
from sora_adapter.sandbox.media.recipe import Recipe
from sora_adapter.sandbox.renderer import Studio
from sora_adapter.sandbox.state.database import Database
from sora_adapter.sandbox.state.jobs import Job, JobStore

Stopped = Callable[[], bool]


class Easel:
    """Stands in for the renderer: notes what it is asked for and works while the test lets it."""

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self.begun, self.may_finish = threading.Event(), threading.Event()

    def render(self, recipe: Recipe, path: Path, stopped: Stopped) -> None:
        self.prompts.append(recipe.prompt)
        path.write_bytes(b"half")
        self.begun.set()
        while not self.may_finish.wait(0.001):
            if stopped():
                raise RenderStoppedError(path.name)
        path.write_bytes(b"whole")


@pytest.fixture
def easel(monkeypatch: pytest.MonkeyPatch) -> Easel:
    made = Easel()
    monkeypatch.setattr(studio_module, "render", made.render)
    return made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    with closing(Database(tmp_path / "jobs.sqlite3")) as database:
        yield JobStore(database)


@pytest.fixture
def studio(easel: Easel, store: JobStore, tmp_path: Path) -> Iterator[Studio]:
    opened = Studio(tmp_path / "media", store, "rendered")
    yield opened
    opened.close()


@pytest.fixture
def add(store: JobStore) -> Callable[[str], Job]:
    def make(name: str) -> Job:
        job = Job(name, "sora-2", "720x1280", "4", (name,), None, None, 0.0, 0.0, 3600, "req_1")
        store.add(job)
        return job

    return make


Add = Callable[[str], Job]


def test_a_clip_wanted_by_many_at_once_is_rendered_once(studio: Studio, easel: Easel, add: Add) -> None:
    job = add("video_1")
    studio.start(job)
    waiting = [studio.asset(job, "video") for _ in range(20)]
    easel.may_finish.set()
    for future in waiting:
        future.result(60)
    assert easel.prompts == ["video_1"]


def test_a_clip_that_a_client_waits_for_is_pulled_out_of_the_queue(
    studio: Studio, easel: Easel, add: Add
) -> None:
    jobs = [add(f"video_{number}") for number in range(3)]
    for job in jobs:
        studio.start(job)
    easel.begun.wait(60)
    wanted = studio.asset(jobs[2], "video")
    easel.may_finish.set()
    wanted.result(60)
    studio.asset(jobs[1], "video").result(60)
    assert sorted(easel.prompts) == ["video_0", "video_1", "video_2"]


def test_a_clip_is_not_there_before_it_is_whole(
    studio: Studio, easel: Easel, add: Add, tmp_path: Path
) -> None:
    studio.start(add("video_1"))
    easel.begun.wait(60)
    assert not (tmp_path / "media" / "video_1.mp4").exists()


def test_closing_leaves_nothing_half_done(studio: Studio, easel: Easel, add: Add, tmp_path: Path) -> None:
    studio.start(add("video_1"))
    easel.begun.wait(60)
    studio.close()
    assert list((tmp_path / "media").iterdir()) == []


def test_a_job_deleted_in_mid_render_leaves_no_file(
    studio: Studio, easel: Easel, add: Add, store: JobStore, tmp_path: Path
) -> None:
    job = add("video_1")
    studio.start(job)
    easel.begun.wait(60)
    rendering = studio.asset(job, "video")
    store.delete(job.id)
    studio.discard(job)
    with pytest.raises(RenderStoppedError):
        rendering.result(60)
    assert list((tmp_path / "media").iterdir()) == []


def test_a_render_that_fails_is_tried_again_when_next_asked_for(
    studio: Studio, easel: Easel, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = add("video_1")
    easel.may_finish.set()
    with monkeypatch.context() as broken:
        broken.setattr(studio_module, "render", lambda *_given: 1 / 0)
        studio.asset(job, "video").exception(60)
    assert studio.asset(job, "video").result(60).read_bytes() == b"whole"


def test_a_failing_job_is_not_rendered(studio: Studio, easel: Easel, add: Add) -> None:
    studio.start(add("[fail]"))
    studio.close()
    assert easel.prompts == []


@pytest.mark.parametrize(("age_s", "is_left"), [(3600, False), (60, True)])
def test_only_old_half_written_files_are_swept_away(
    store: JobStore, tmp_path: Path, age_s: int, *, is_left: bool
) -> None:
    part = tmp_path / "media" / ".video_1.mp4.0.part"
    part.parent.mkdir()
    part.write_bytes(b"half")
    os.utime(part, (0, time.time() - age_s))
    Studio(tmp_path / "media", store, "rendered").close()
    assert part.exists() is is_left
