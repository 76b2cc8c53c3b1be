"""Receive the webhooks that the gateway sends when a video is stored, and check their signatures."""

import warnings
from http.server import BaseHTTPRequestHandler, HTTPServer

from openai import InvalidWebhookSignatureError, OpenAI

warnings.simplefilter("ignore", DeprecationWarning)  # the SDK marks every call of `videos`

client = OpenAI(max_retries=10)
secrets: list[str] = []
finished: list[str] = []


class Receiver(BaseHTTPRequestHandler):
    """Answers within ten seconds, and ignores what it knows: a delivery may come twice."""

    def do_POST(self) -> None:
        """Take one delivery; anything but a 2xx is delivered again."""
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            event = client.webhooks.unwrap(body, self.headers, secret=secrets[0])
        except InvalidWebhookSignatureError:
            self.send_error(401)
            return
        if event.data.id not in finished:
            finished.append(event.data.id)
        self.send_response(204)
        self.end_headers()
        print(f"{event.type}: {event.data.id}")


with HTTPServer(("127.0.0.1", 0), Receiver) as server:
    endpoint = client.webhooks.create(
        name="example", url=f"http://127.0.0.1:{server.server_port}/hooks", event_types=["video.completed"]
    )
    secrets.append(endpoint.signing_secret)
    video = client.videos.create(prompt="A paper boat in a gutter", model="sora-2", seconds="4")
    while video.id not in finished:
        server.handle_request()
client.videos.download_content(video.id).write_to_file("boat.mp4")
