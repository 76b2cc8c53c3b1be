"""What holds for every page of the console: one test for each, from the list in `console_routes.py`."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from render_service.server.console_routes import ACTIONS, PAGES
from tests.console.conftest import Console, Studio

PARTS = {
    "/inbox/{name}": "/inbox/{fox}",
    "/review/{name}": "/review/{fox}",
    "/videos/{name}": "/videos/{crimson}",
    "/videos/{name}/state": "/videos/{queued}/state",
    "/videos/{name}/shares": "/videos/{fox}/shares",
    "/log/{position}": "/log/1",
}
"""Paths with parts, and the same with words of `Studio.jobs`, as ``/videos/{id}``: ``/videos/{coupe}``."""

FEW_ROWS = {"/log": "?job={crimson}"}
"""What restricts a long table where each row is looked at: all rows are alike."""

PATHS = [page.path for page in PAGES]
LOOKS = (("light", 1280), ("dark", 360))
FIRST_PAGE_BYTES = 100_000
AXE = Axe()


def place(path: str, studio: Studio) -> str:
    """Return the path of a page, with an example for its parts."""
    return PARTS.get(path, path).format(**studio.jobs)


def violations(page: Page) -> list[str]:
    """Return what axe finds on a page."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.axe_script)
    found = page.evaluate("axe.run({resultTypes: ['violations']}).then((results) => results.violations)")
    return [f"{each['id']}: {each['help']}: {node['html']}" for each in found for node in each["nodes"]]


@pytest.fixture(scope="module")
def signed_in(browser: Browser, shared: Console) -> Iterator[Page]:
    """A page of someone who may do everything, for all tests here."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(30_000)
    opened = context.new_page()
    shared.sign_in(opened, "sol")
    yield opened
    context.close()


@pytest.mark.parametrize("path", PATHS)
def test_a_page_is_accessible_fits_every_screen_and_asks_no_other_host(
    path: str, shared: Console, signed_in: Page
) -> None:
    requests: list[str] = []
    errors: list[str] = []
    signed_in.on("request", lambda request: requests.append(request.url))
    signed_in.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    signed_in.on("pageerror", lambda error: errors.append(str(error)))
    signed_in.emulate_media(color_scheme="light")
    signed_in.set_viewport_size({"width": 1280, "height": 800})
    where = place(path, shared.studio) + FEW_ROWS.get(path, "").format(**shared.studio.jobs)
    answer = signed_in.goto(shared.url + where)
    assert answer.status == 200
    for scheme, width in LOOKS:
        signed_in.emulate_media(color_scheme=scheme)
        signed_in.set_viewport_size({"width": width, "height": 800})
        assert violations(signed_in) == [], (scheme, width)
        wide = signed_in.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{wide} pixels wide on a screen of {width}"
    assert {f"{urlsplit(url).scheme}://{urlsplit(url).netloc}" for url in requests} == {shared.origin}
    assert errors == []


@pytest.mark.parametrize("path", PATHS)
def test_a_page_answers_without_scripts_and_as_json_and_csv(path: str, shared: Console) -> None:
    page = next(page for page in PAGES if page.path == path)
    with shared.reader("sol") as sol:
        where = place(path, shared.studio)
        html = sol.get(where)
        assert (html.status_code, html.text.count("<h1")) == (200, 1), html.text
        assert " style=" not in html.text
        assert "<script>" not in html.text
        assert isinstance(sol.get(f"{where}.json").json(), dict)
        table = sol.get(f"{where}.csv")
        assert table.status_code == (200 if page.rows else 404)


@pytest.mark.parametrize("path", PATHS)
def test_a_page_is_refused_to_those_without_a_role(path: str, shared: Console) -> None:
    with shared.client() as nobody:
        where = place(path, shared.studio)
        assert nobody.get(where).headers["location"].startswith("/console/sign-in?next=")
        assert nobody.get(f"{where}.json").status_code == 401


@pytest.mark.parametrize("path", sorted({action.path for action in ACTIONS}))
def test_an_action_is_refused_without_the_token_of_the_session(path: str, shared: Console) -> None:
    action = next(each for each in ACTIONS if each.path == path)
    where = PARTS.get(action.page, action.page).format(**shared.studio.jobs)
    with shared.client("sol") as sol:
        before = sol.get(where).status_code
        for fields in ({}, {"csrf": "wrong"}, {"csrf": ""}):
            answer = sol.post(example(action.path, shared.studio), data=fields)
            assert "from an earlier session" in answer.text
            assert answer.status_code == 409
        elsewhere = {"origin": "https://example.org"}
        assert sol.post(where, headers=elsewhere).status_code in {403, 404}
    assert before == 200


def example(path: str, studio: Studio) -> str:
    """Return the path of an action with example parts, those of its page."""
    page = next(action.page for action in ACTIONS if action.path == path)
    parts = dict(zip(_parts(page), _parts(PARTS.get(page, page)), strict=True))
    for name, word in parts.items():
        path = path.replace(name, word)
    return path.replace("{name}", "{fox}").format(**studio.jobs)  # an action of its own page's rows


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part.startswith("{")]


def test_the_sign_in_page_is_accessible_and_the_first_page_is_small(shared: Console, page: Page) -> None:
    sizes: list[int] = []
    page.on("response", lambda response: sizes.append(response.request.sizes()["responseBodySize"]))
    page.goto(f"{shared.url}/")
    assert violations(page) == []
    page.emulate_media(color_scheme="dark")
    assert violations(page) == []
    shared.sign_in(page, "sol")
    page.wait_for_load_state("networkidle")
    assert 0 < sum(sizes) < FIRST_PAGE_BYTES, sizes


def test_what_is_vendored_is_what_its_authors_published() -> None:
    from hashlib import sha256  # noqa: PLC0415

    from render_service.server.console.static import STATIC  # noqa: PLC0415

    def content(name: str) -> bytes:
        stored = (STATIC / name).read_bytes()
        return gzip.decompress(stored) if name.endswith(".gz") else stored

    assert {name: sha256(content(name)).hexdigest() for name in VENDORED} == VENDORED


VENDORED = {  # npm: htmx.org 2.0.11 dist/htmx.min.js, htmx-ext-sse 2.2.4 dist/sse.min.js
    "htmx.min.js": "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717",
    # npm: @contentauth/c2pa-web 0.13.1 dist/c2pa_worker.js and dist/resources/c2pa_bg.wasm
    "c2pa-worker.js": "e4859b282d83f2d177c4508d5adcc46d7492a7805d9972a612d08fe81952c24d",
    "c2pa.wasm.gz": "eb8b3557c7da472e9d0b347936e8ac72e9ebfb0dff05aba3ca00dd5e2dd8c499",
    "sse.js": "98a46496de0c3605fbffdce9167ba427bdd9553184f83f149c261891a92c0136",
}


def test_templates_and_static_files_are_beside_the_code() -> None:
    from render_service.server.console import static  # noqa: PLC0415

    folder = Path(static.__file__).parent
    assert {"layout.html", "sign_in.html"} <= {path.name for path in (folder / "templates").iterdir()}
