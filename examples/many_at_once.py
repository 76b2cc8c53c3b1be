"""Several renders at once. Each has its own decision, and one that fails does not stop the others."""

import asyncio

from render_service import NotSubmitted, RenderDesk

SHOTS = {
    "harbour": "Wide shot of a fishing harbour at dawn, fog, slow pan left",
    "crane": "Close-up of a rusty crane hook against the sky",
    "boat": "A red boat leaves the harbour, seen from above",
}


async def render(desk: RenderDesk, name: str, prompt: str) -> str:
    """Render one shot and return a line about it."""
    try:
        job = await desk.create_and_poll(
            prompt, seconds="4", request_key=f"storyboard-{name}", max_cost_usd_micros=500_000
        )
    except NotSubmitted as refused:
        return f"{name}: {refused.job.state}"
    await desk.download(job.job_id, to=f"{name}.mp4", force=True)
    return f"{name}: {job.state}, {job.settled_usd_micros / 1_000_000:.2f} USD"


async def main() -> None:
    """Render all shots; run again, the request keys make them the same requests, billed once."""
    async with RenderDesk(profile="sandbox", ledger="sqlite:///renders.db", project="harbour") as desk:
        for line in await asyncio.gather(*(render(desk, name, prompt) for name, prompt in SHOTS.items())):
            print(line)


asyncio.run(main())
