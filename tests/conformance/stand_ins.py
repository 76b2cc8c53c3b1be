"""What a test of another project uses with the gateway in place of a file or an endpoint that is none."""

import json
import os
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

SAMPLES = Path(os.environ["SAMPLES"])
IMAGE = (SAMPLES / "image.png").read_bytes()
VIDEO = (SAMPLES / "video.mp4").read_bytes()
BEFORE: list[str] = []


def endpoint() -> str:
    """Create a webhook endpoint, and delete the one before; return its id."""
    url, key = os.environ["TEST_API_BASE_URL"] + "/webhook_endpoints", os.environ["TEST_API_KEY"]
    for name in BEFORE:
        with suppress(urllib.error.HTTPError):  # the test has deleted it
            _ask(f"{url}/{name}", key, method="DELETE")
    values = {"name": "x", "url": os.environ["RECEIVER"], "event_types": ["video.completed"]}
    BEFORE[:] = [str(_ask(url, key, values)["id"])]
    return BEFORE[0]


def video() -> str:
    """Create a video at the server behind the gateway, which does not know it, and return its id."""
    url = os.environ["UPSTREAM_BASE_URL"] + "/videos"
    made = _ask(url, os.environ["UPSTREAM_KEY"], {"prompt": "x"})
    while made["status"] != "completed":
        time.sleep(0.05)
        made = _ask(f"{url}/{made['id']}", os.environ["UPSTREAM_KEY"])
    return str(made["id"])


def _ask(
    url: str, key: str, asked: dict[str, object] | None = None, method: str | None = None
) -> dict[str, object]:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    body = None if asked is None else json.dumps(asked).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method)) as answer:
        return dict(json.load(answer))
