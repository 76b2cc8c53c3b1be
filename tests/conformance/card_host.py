"""Open the card of a job in a host of MCP Apps: the reference bridge from npm, in a real browser.

CARD_HOST names the bundled host (`card_host.js`). The card comes from `sora-ledger mcp`, through the
reference client, and so does everything that it asks its host for.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.extension import advertise
from mcp_types import TextResourceContents
from playwright.async_api import FrameLocator, Page, async_playwright, expect

from tests.console.conftest import ARGUMENTS
from tools.browser import find_browser

CARD_TYPE = "text/html;profile=mcp-app"
CARDS = [advertise("io.modelcontextprotocol/ui", {"mimeTypes": [CARD_TYPE]})]
HOSTILE = (
    "<img src=x onerror=\"parent.postMessage(1, '*'); window.hacked = 1\"><script>window.hacked = 1</script>"
)
PATIENCE_MS = 60_000
ROOT = Path(__file__).parents[2]


@dataclass
class Host:
    """The page of a host, and what its card asked for."""

    page: Page
    asked: list[str]
    client: Client

    @property
    def card(self) -> FrameLocator:
        """The card."""
        return self.page.frame_locator("iframe >> nth=0")

    async def show(self, html: str, result: dict[str, Any]) -> None:
        """Open the card, and give it the result of its tool."""
        await self.page.evaluate("([html, input]) => window.show(html, input)", [html, {"prompt": "a fox"}])
        await self.give(result)

    async def give(self, result: dict[str, Any]) -> None:
        """Give the card a result of its tool."""
        await self.page.evaluate("result => window.result(result)", result)


@asynccontextmanager
async def host(folder: Path) -> AsyncIterator[Host]:
    """Open the host, and a server of tools behind it."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "SORA_LEDGER_PROFILE": "sandbox",
        "SORA_LEDGER_URL": f"sqlite:///{folder}/ledger.db",
    }
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "cli", "mcp"], env=environment, cwd=str(folder)
    )
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    requests: list[str] = []
    async with Client(server, extensions=CARDS) as client, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=find_browser(), args=[*ARGUMENTS, *root])
        page = await browser.new_page()
        page.set_default_timeout(PATIENCE_MS)

        async def call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
            requests.append(name)
            return wire(await client.call_tool(name, arguments))

        async def read(uri: str) -> dict[str, Any]:
            requests.append(uri)
            return wire(await client.read_resource(uri))

        await page.expose_function("callTool", call)
        await page.expose_function("readResource", read)
        await page.goto("about:blank")
        await page.add_script_tag(path=os.environ["CARD_HOST"])
        yield Host(page, requests, client)
        await browser.close()


def wire(result: Any) -> dict[str, Any]:
    """Return a result as it is sent."""
    return dict(result.model_dump(by_alias=True, mode="json", exclude_none=True))


async def card_of(client: Client, tool: str) -> str:
    """Return the card that a tool names, as its host reads it."""
    tools = (await client.list_tools()).tools
    named = next(one.meta for one in tools if one.name == tool)
    assert named is not None
    content = (await client.read_resource(named["ui"]["resourceUri"])).contents[0]
    assert isinstance(content, TextResourceContents)
    assert content.mime_type == CARD_TYPE
    return content.text


def test_a_host_shows_the_state_the_cost_and_the_player_of_a_job(tmp_path: Path) -> None:
    async def use() -> None:
        async with host(tmp_path) as there:
            client = there.client
            html = await card_of(client, "render")
            fox = {"prompt": "a fox runs", "augment": False, "request_key": "fox"}
            placed = await client.call_tool("render", fox)
            await there.show(html, wire(placed))
            await expect(there.card.locator("#facts")).to_contain_text("running", timeout=PATIENCE_MS)
            await expect(there.card.locator("#facts")).to_contain_text("USD of an estimated")
            await expect(there.card.locator("#player")).to_be_hidden()
            job = placed.structured_content["job"]
            waited = await client.call_tool("wait", {"job": job, "seconds": 60})
            assert waited.structured_content["state"] == "stored"
            facts = there.card.locator("#facts")  # the card asks by itself
            await expect(facts).to_contain_text("stored", timeout=PATIENCE_MS)
            player = there.card.locator("#player")
            await expect(player).to_be_visible(timeout=PATIENCE_MS)
            await player.evaluate(PLAYS)
            assert {"job", f"sora-ledger://videos/{job}"} <= set(there.asked)
            assert await there.page.evaluate("window.height") > 0

    asyncio.run(use())


PLAYS = """player => new Promise((resolve, reject) => {
  if (player.error) reject(new Error(player.error.message));
  if (player.readyState >= 1) resolve(player.duration);
  player.onloadedmetadata = () => resolve(player.duration);
  player.onerror = () => reject(new Error(player.error.message));
})"""


def test_hostile_text_in_an_answer_is_shown_and_does_nothing(tmp_path: Path) -> None:
    answer: dict[str, Any] = {
        "job": "job_1",
        "state": "denied",
        "model": "sora-2",
        "size": "1280x720",
        "seconds": 4,
        "cost": {"so_far_usd": "0.00", "estimated_usd": "0.40"},
        "next": {"because": "a reason"},
        "files": {},
    }
    hostile = [answer | {name: HOSTILE} for name in ("state", "model", "size", "seconds", "job")]
    hostile += [answer | {"next": {"because": HOSTILE}}, answer | {"cost": {"so_far_usd": HOSTILE}}]

    async def use() -> None:
        async with host(tmp_path) as there:
            await there.show(await card_of(there.client, "job"), given(answer))
            facts = there.card.locator("#facts")
            for number, each in enumerate(hostile):
                await there.page.evaluate(
                    "result => window.result(result)", given({**each, "progress": number + 1})
                )
                await expect(facts).to_contain_text(f"({number + 1} %)")
                await expect(facts).to_contain_text("<script>window.hacked = 1</script>")
                assert await there.card.locator("#facts img, #facts script").count() == 0
            assert await facts.evaluate("() => window.hacked ?? null") is None
            assert await there.page.evaluate("() => window.hacked ?? null") is None

    asyncio.run(use())


def given(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer as the result of a tool."""
    return {"content": [], "structuredContent": answer}


def test_a_message_from_another_window_changes_nothing(tmp_path: Path) -> None:
    async def use() -> None:
        async with host(tmp_path) as there:
            html = await card_of(there.client, "job")
            answer = {"job": "job_1", "state": "denied", "next": {"because": "a reason"}, "files": {}}
            await there.show(html, given(answer))
            facts = there.card.locator("#facts")
            await expect(facts).to_contain_text("denied")
            await facts.evaluate(REMEMBERS)
            await there.page.evaluate(FORGED)
            await there.give(given(answer | {"state": "refused"}))
            await expect(facts).to_contain_text("refused")
            shown = await facts.evaluate("() => window.shown")
            assert [text for text in shown if "forged" in text] == []

    asyncio.run(use())


REMEMBERS = """list => {
  window.shown = [];
  new MutationObserver(() => window.shown.push(list.textContent)).observe(list, { childList: true });
}"""
FORGED = """() => new Promise((resolve) => {
  const other = document.createElement("iframe");
  other.setAttribute("sandbox", "allow-scripts");
  other.onload = resolve;
  other.srcdoc = `<script>parent.frames[0].postMessage({
    jsonrpc: "2.0", method: "ui/notifications/tool-result",
    params: { structuredContent: { job: "job_1", state: "forged" } },
  }, "*")</` + `script>`;
  document.body.append(other);
})"""
