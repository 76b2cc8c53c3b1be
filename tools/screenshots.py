"""Write docs/images/console-*.png: the main pages of the console, on the ledger that the demo makes.

    python -m tools.screenshots [DEMO_FOLDER]

Without a folder it runs the demo first, which takes a minute or two.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Page, sync_playwright

from tools.browser import HOW, find_browser

IMAGES = Path(__file__).parents[1] / "docs" / "images"
PROGRAM = [sys.executable, "-m", "cli"]
LISTED = {
    "inbox": "/inbox",
    "videos": "/videos",
    "review": "/review",
    "log": "/log",
    "policy": "/policy",
    "spend": "/spend",
    "operations": "/operations",
    "access": "/access",
    "as-of": "/operations/as-of?position=40",
}
"""The list pages; one that does not exist yet is left out."""

PROMPT = "Close-up of a teal headlight in heavy rain at night, drops on chrome"
"""Requests that wait for approval in the picture of the inbox."""

SIZE = {"width": 1280, "height": 800}
ARGUMENTS = "--headless --disable-gpu --disable-quic --no-first-run --disable-background-networking".split()


def main() -> None:
    """Take the pictures."""
    program = find_browser()
    if program is None:
        raise SystemExit(HOW)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch) / "demo"
        if not folder.exists():
            subprocess.run([*PROGRAM, "demo", "--out", str(folder)], check=True)
        environment = {
            **os.environ,
            "PYTHONPATH": str(IMAGES.parents[1]),
            "SORA_LEDGER_URL": str(folder.absolute() / "ledger.db"),
        }
        for name, *roles in (("maria", "approver", "reviewer"), ("ana", "requester")):
            words = [f"--role={role}" for role in roles]
            subprocess.run(
                [*PROGRAM, "access", "grant", name, *words],
                check=True,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        asking = (
            f"create --queue --actor ana --key {folder.absolute()}/ana.key --purpose final --model sora-2-pro"
        )
        subprocess.run(
            [*PROGRAM, *asking.split(), "--profile=sandbox", "--prompt", PROMPT],
            check=False,  # it waits for approval, which is exit code 3
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for check in ("verify --record", f"checkpoint --publish {folder.absolute()}/checkpoint.txt --record"):
            subprocess.run(
                [*PROGRAM, *check.split(), "--actor=otto"],
                check=True,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        command = [*PROGRAM, "console", "--print", "--no-work", "--json", "--actor=maria"]
        with subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=folder,
        ) as serving:
            try:
                take(program, _link(serving))
            finally:
                serving.terminate()


def _link(serving: subprocess.Popen[str]) -> str:
    document = ""
    for line in serving.stdout or ():
        document += line
        if line == "}\n":
            return str(json.loads(document)["link"])
    raise SystemExit(f"the console was not served: {document}")


def take(program: str, link: str) -> None:
    """Open the pages and write the pictures."""
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    origin = f"{urlsplit(link).scheme}://{urlsplit(link).netloc}/console"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*ARGUMENTS, *root])
        page = browser.new_context(viewport=SIZE, color_scheme="light").new_page()
        page.goto(link)
        page.locator(".person").wait_for()
        IMAGES.mkdir(exist_ok=True)
        for name, path in LISTED.items():
            answer = page.goto(origin + path)
            if answer is not None and answer.ok:
                _write(page, name)
        page.goto(f"{origin}/videos")
        found = page.locator("a[href*='/console/videos/job_'], a[href*='/console/videos/video_']")
        addresses = found.evaluate_all("links => links.map(link => link.href)")
        if addresses:
            page.goto(addresses[0])
            _write(page, "video")
        browser.close()


def _write(page: Page, name: str) -> None:
    page.wait_for_load_state("networkidle")
    page.wait_for_function("[...document.images].every(image => image.complete)")
    page.wait_for_function("[...document.querySelectorAll('video')].every(video => video.readyState > 3)")
    page.screenshot(path=IMAGES / f"console-{name}.png", clip={"x": 0, "y": 0, **SIZE}, animations="disabled")
    sys.stderr.write(f"console-{name}.png\n")


if __name__ == "__main__":
    main()
