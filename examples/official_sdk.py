"""The official SDK through the gateway. It reads OPENAI_BASE_URL and OPENAI_API_KEY."""

import time
import warnings

from openai import OpenAI

warnings.simplefilter("ignore", DeprecationWarning)  # the SDK marks every call of `videos`

client = OpenAI(max_retries=10)
key = {"Idempotency-Key": "coupe-1"}
video = client.videos.create(
    prompt="A teal coupe in the rain", model="sora-2", seconds="4", extra_headers=key
)
again = client.videos.create(
    prompt="A teal coupe in the rain", model="sora-2", seconds="4", extra_headers=key
)
print(f"sent twice, one video: {video.id == again.id}")

while video.status not in {"completed", "failed"}:
    time.sleep(0.5)
    video = client.videos.retrieve(video.id)
client.videos.download_content(video.id).write_to_file("coupe.mp4")
print(f"{video.id} is {video.status}")
