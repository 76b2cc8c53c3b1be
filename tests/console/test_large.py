"""The console in a browser, on a large ledger: pages, search, log, jobs as of a position.

It has 20,000 events, more than any list or search shows at once; in `make soak` it also has 100,000.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from playwright.sync_api import Browser, Page

from render_service.server.console_routes import PAGES
from tests.console.conftest import Console, Studio, serving
from tests.console.test_pages import place

JOBS = (2_000, pytest.param(10_000, marks=pytest.mark.soak))
SLOWEST_MS = 5_000
"""What a page may take on a machine that is busy with other tests; `benchmarks/console.py` measures it."""


def builder() -> ModuleType:
    """Return the module of the benchmarks that makes ledgers of this size."""
    spec = spec_from_file_location("big_ledger", Path(__file__).parents[2] / "benchmarks" / "big_ledger.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=JOBS)
def jobs(request: pytest.FixtureRequest) -> int:
    """Return how many jobs the ledger has; each has ten events."""
    return int(request.param)


@pytest.fixture(scope="module")
def large(studio: Studio, tmp_path_factory: pytest.TempPathFactory, jobs: int) -> Iterator[Console]:
    """Serve the large ledger; it is made once for all processes of the tests, and none changes a job."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, keys = shared / f"large-{jobs}", shared / f"large-{jobs}.json"
    made = Studio(folder, studio.environment, studio.forks)
    with (shared / "large.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not keys.exists():
            folder.mkdir(exist_ok=True)
            builder().make(folder / "ledger.db", jobs)
            made.grant("sol", "--role=administrator", "--role=operator", "--role=approver")
            keys.write_text(json.dumps(made.keys))
    made.keys = json.loads(keys.read_text())
    made.jobs = dict.fromkeys(studio.jobs, builder().job_id(jobs - 1))
    with serving(made) as console:
        yield console


@pytest.fixture(scope="module")
def signed_in(browser: Browser, large: Console) -> Iterator[Page]:
    """A page of someone who may do everything."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(30_000)
    opened = context.new_page()
    large.sign_in(opened, "sol")
    yield opened
    context.close()


def test_every_page_opens_and_fits(large: Console, signed_in: Page) -> None:
    errors = list[str]()
    signed_in.on("pageerror", lambda error: errors.append(str(error)))
    for each in PAGES:
        path = place(each.path, large.studio)
        answer = signed_in.goto(large.url + path)
        assert answer.status == 200, path
        assert answer.request.timing["responseStart"] < SLOWEST_MS, path
        assert signed_in.evaluate("document.documentElement.scrollWidth") <= 1280, path
    assert errors == []


def test_a_video_is_found_by_its_words_and_the_back_button_returns(
    large: Console, signed_in: Page, jobs: int
) -> None:
    number = jobs * 7 // 9
    signed_in.goto(f"{large.url}/videos")
    signed_in.get_by_role("status").get_by_text(f"{jobs:,} videos").wait_for()
    signed_in.get_by_label("Words of the prompt").fill(f"number {number}")
    signed_in.get_by_role("status").get_by_text("1 video").wait_for()
    signed_in.locator("#found a[href*='/videos/job_']").first.click()
    signed_in.wait_for_url(f"{large.url}/videos/{builder().job_id(number)}*")
    signed_in.go_back()
    signed_in.get_by_role("status").get_by_text("1 video").wait_for()


def test_a_search_counts_its_newest_matches_and_says_so_unless_all_are_shown(large: Console) -> None:
    with large.reader("sol") as sol:
        every, none = (sol.get(f"/videos.json?q=canal{more}").json() for more in ("", "&state=failed"))
        assert (every["total"], every["is_least"], every["is_partial"]) == (1_000, True, True)
        assert (none["total"], none["is_least"], none["videos"]) == (0, False, [])
        assert "The numbers cover the newest 1,000 matches" in sol.get("/videos?q=canal&state=failed").text


def test_the_slider_moves_through_the_whole_log(large: Console, signed_in: Page, jobs: int) -> None:
    signed_in.goto(f"{large.url}/operations/as-of")
    signed_in.get_by_text(f"{jobs:,} jobs as of position").wait_for()
    field = signed_in.get_by_label("Position", exact=True)
    middle, last = 5 * jobs + 3, 10 * jobs - 1
    for position, shown in ((middle, f"{jobs // 2 + 1:,} jobs"), (7, "1 job"), (last, f"{jobs:,} jobs")):
        field.fill(str(position))
        signed_in.get_by_text(f"{shown} as of position {position:,}").wait_for()
    assert signed_in.locator("tbody tr").count() == 50
    signed_in.get_by_role("link", name="Older").click()
    signed_in.wait_for_url(f"**/as-of?position={last}&before=*")
    assert signed_in.locator("tbody tr").count() == 50


def test_the_log_is_read_back_from_its_end_and_a_record_checked(
    large: Console, signed_in: Page, jobs: int
) -> None:
    signed_in.goto(f"{large.url}/log")
    signed_in.get_by_role("link", name="Older").first.click()
    signed_in.wait_for_url("**/log?before=*")
    signed_in.goto(f"{large.url}/log/{5 * jobs}")
    signed_in.get_by_role("button", name="Check in this browser").click()
    signed_in.locator("#verdict").get_by_text("Nothing is wrong with this record").wait_for()
