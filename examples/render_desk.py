"""Render a clip from Python: it is decided, recorded, submitted once, stored and checked."""

from pathlib import Path

from render_service import SyncRenderDesk

with SyncRenderDesk(profile="sandbox", ledger="sqlite:///renders.db") as desk:
    job = desk.create_and_poll(
        "A steaming cup of coffee on a wooden table", seconds="4", purpose="draft", poll_interval_s=0.5
    )
    print(f"{job.job_id}: {job.model} rendered {job.seconds} s in {job.size}")
    print(f"cost: {job.settled_usd_micros / 1_000_000:.2f} USD ({job.cost_basis})")

    desk.download(job.job_id, to="coffee.mp4", force=True)
    print(f"coffee.mp4: {Path('coffee.mp4').stat().st_size} bytes")
