"""A video belongs to one job, and the ledger itself sees to it.

The event by which a job gets its video (``submission.accepted``, ``submission.recovered`` and
``render.adopted``) has an id made from profile and video id. Event ids are unique in a store, so of two that
claim a video at the same moment, in whatever processes, one is refused (`EventIdConflict`) and reads what the
other recorded.
"""

import uuid

CLAIMS = uuid.UUID("0d8a2c55-7f0e-5d0b-9a43-6f1f4b8f2e90")
"""Namespace of the event ids of claims."""

CLAIMED = "video_of_another_job"
"""Error code of an attempt that a server answered with a video which another job has."""


def claim_id(profile: str, video_id: str) -> str:
    """Return the event id of the claim to a video: the same for the same video, whoever claims it."""
    return str(uuid.uuid5(CLAIMS, f"{profile}\n{video_id}"))
