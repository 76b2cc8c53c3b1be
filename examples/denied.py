"""A request that costs too much is denied before anything is sent, and told what would be allowed."""

from render_service import NotSubmitted, SyncRenderDesk

PROMPT = "A paper boat on a canal at dawn"

with SyncRenderDesk(profile="sandbox", ledger="sqlite:///renders.db") as desk:
    try:
        desk.create(PROMPT, seconds="12", max_cost_usd_micros=500_000)
    except NotSubmitted as denied:
        print(denied.job.state)
        print(denied)
    job = desk.create(PROMPT, seconds="4", max_cost_usd_micros=500_000)
    print(f"{job.state}: {job.seconds} s for {job.estimate_usd_micros / 1_000_000:.2f} USD")
