"""Ids that are made from what they stand for are in ledgers, so they stay what they were."""

from pathlib import Path

import pytest

from render_service.session.event_ids import (
    batch_id,
    claim_id,
    fact_id,
    match_id,
    note_id,
    receipt_id,
    request_id,
    spooled_id,
)

RECORDED = {
    "claim": (claim_id("openai", "video_1"), "2faccff0-a63f-5ec2-9731-c34e45472337"),
    "request": (request_id("a key"), "0393767f-9dca-5886-a85b-7ebcc62cc771"),
    "spooled": (spooled_id("attempt_1"), "e5969156-db08-5971-8db5-9b4b4eac42a0"),
    "receipt": (receipt_id("openai", "wevt_1"), "b318992f-bd8d-5bea-a382-0978b8029dca"),
    "match": (match_id("openai", "wevt_1"), "44a6ccb0-bb88-5d1b-9dc6-c5475e0e3bc5"),
    "fact": (fact_id("episode_7", "evt_123"), "c7757fe1-14f8-503d-80b8-4d0482e571b4"),
    "note": (note_id("ASSET_EXPIRED", "job_1", "video_1"), "3cef51be-1437-5165-9383-2882dd69c2d8"),
    "note without a job": (
        note_id("VIDEO_UNCLAIMED", None, "video_1"),
        "4fb6ff9e-1d5c-53dc-90e4-7e0e0215505f",
    ),
    "batch of a folder": (batch_id(Path("/renders/spring")), "29773aad-976b-5ade-9cdd-322945dbe16c"),
    "batch by name": (batch_id(Path("/x"), "spring"), "7703a2d5-03b7-5019-bb4a-7c99d8f7a6b8"),
}


@pytest.mark.parametrize("what", RECORDED)
def test_an_id_is_the_one_in_ledgers_that_were_written_before(what: str) -> None:
    made, recorded = RECORDED[what]
    assert made == recorded


def test_without_a_key_every_request_and_fact_is_another_one() -> None:
    assert (
        len({request_id(None), request_id(None), fact_id("episode_7", None), fact_id("episode_7", None)}) == 4
    )
