"""What imitated servers say on the wire, beyond what our client needs (the contract suite has that)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sora_adapter.sandbox.emulators import NAMES
from sora_adapter.sandbox.server import create_app
from sora_adapter.sandbox.settings import SandboxSettings
from tests.sora_adapter.sandbox.conftest import Clock

Start = Callable[..., httpx2.Client]
RENDER = {"prompt": "a teal kite", "model": "sora-2", "size": "720x1280", "seconds": "4"}


def create(api: httpx2.Client, **fields: Any) -> dict[str, Any]:
    """Create by multipart form, as the SDK does."""
    parts = {name: (None, str(value)) for name, value in {**RENDER, **fields}.items()}
    answer = api.post("/v1/videos", files=parts)
    assert answer.is_success, answer.text
    body: dict[str, Any] = answer.json()
    return body


def retrieve(api: httpx2.Client, video: dict[str, Any]) -> httpx2.Response:
    return api.get(f"/v1/videos/{video['id']}")


def test_a_server_nobody_imitates_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot imitate 'sorra' \(known: litellm, vllm-omni"):
        create_app(SandboxSettings(tmp_path, imitates="sorra"))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "merge"])
def test_a_body_nobody_can_read_is_refused_and_not_a_crash(start: Start, name: str) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = start(imitates=name).post("/v1/videos", content=b"--x\r\nnonsense", headers=headers)
    assert answer.status_code in {400, 422}


@pytest.mark.parametrize("name", NAMES)
def test_the_routes_for_tests_are_not_imitated(start: Start, name: str) -> None:
    assert start(imitates=name).get("/_sandbox/jobs").json() == {"data": []}


# --- LiteLLM, docs/servers.md 1.1 ---------------------------------------------------------------------------


@pytest.fixture
def litellm(start: Start) -> httpx2.Client:
    return start(imitates="litellm", render_seconds=0)


def test_litellm_shows_no_prompt_and_adds_usage(litellm: httpx2.Client) -> None:
    video = create(litellm)
    assert ("prompt" in video, video["usage"]) == (False, {"duration_seconds": 4.0})


def test_litellm_passes_other_fields_on_and_shows_them_not(litellm: httpx2.Client) -> None:
    assert "seed" not in create(litellm, seed=7)


def test_litellm_has_no_delete(litellm: httpx2.Client) -> None:
    answer = litellm.delete(f"/v1/videos/{create(litellm)['id']}")
    assert (answer.status_code, answer.json()) == (405, {"detail": "Method Not Allowed"})


def test_litellm_lists_nothing(litellm: httpx2.Client) -> None:
    answer = litellm.get("/v1/videos")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "400")
    assert "LLM Provider NOT provided" in answer.text


def test_litellm_ignores_the_variant(litellm: httpx2.Client) -> None:
    video_id = create(litellm)["id"]
    answer = litellm.get(f"/v1/videos/{video_id}/content", params={"variant": "thumbnail"})
    assert (answer.headers["content-type"], answer.content[4:8]) == ("video/mp4", b"ftyp")


def test_litellm_looks_for_a_raw_id_at_openai(litellm: httpx2.Client) -> None:
    create(litellm)
    raw = litellm.get("/_sandbox/jobs").json()["data"][0]["id"]
    assert litellm.get(f"/v1/videos/{raw}").status_code == 500


def test_litellm_refuses_an_image_by_url(litellm: httpx2.Client) -> None:
    answer = litellm.post("/v1/videos", json={**RENDER, "input_reference": {"image_url": "data:,x"}})
    assert (answer.status_code, "Invalid request format" in answer.text) == (400, True)


def test_litellm_drops_the_headers_of_clients(litellm: httpx2.Client) -> None:
    litellm.post("/v1/videos", json=RENDER, headers={"x-client-request-id": "att_1"})
    assert litellm.get("/_sandbox/jobs").json()["data"][0]["client_request_id"] is None


def test_litellm_hides_the_request_id_of_a_success(litellm: httpx2.Client) -> None:
    headers = retrieve(litellm, create(litellm)).headers
    assert ("x-request-id" in headers, "x-litellm-call-id" in headers) == (False, True)


def test_litellm_names_the_model_in_the_id_of_a_create_only(litellm: httpx2.Client) -> None:
    video = create(litellm)
    assert retrieve(litellm, video).json()["id"] not in {video["id"], ""}


@pytest.mark.parametrize(("size", "cost"), [("720x1280", "0.4"), ("999x999", "0")])
def test_litellm_says_what_a_create_cost_and_0_with_an_error(
    litellm: httpx2.Client, size: str, cost: str
) -> None:
    answer = litellm.post("/v1/videos", json={**RENDER, "size": size})
    assert answer.headers["x-litellm-response-cost"] == cost


def test_litellm_answers_a_wrong_key_with_400(start: Start) -> None:
    answer = start(imitates="litellm", api_key="other").post("/v1/videos", json=RENDER)
    assert answer.status_code == 400


def test_litellm_edits_by_id_and_not_by_upload(litellm: httpx2.Client) -> None:
    source = {"id": create(litellm)["id"]}
    by_id = litellm.post("/v1/videos/edits", json={"prompt": "at dusk", "video": source})
    upload = {"prompt": (None, "at dusk"), "video": ("a.mp4", b"mp4", "video/mp4")}
    by_upload = litellm.post("/v1/videos/edits", files=upload)
    assert (by_id.status_code, by_upload.status_code) == (200, 500)


# --- vLLM-Omni, docs/servers.md 1.2 -------------------------------------------------------------------------


@pytest.fixture
def vllm(start: Start) -> httpx2.Client:
    return start(imitates="vllm-omni", render_seconds=0)


def test_vllm_omni_takes_forms_only(vllm: httpx2.Client) -> None:
    answer = vllm.post("/v1/videos", json=RENDER)
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "prompt"])


def test_vllm_omni_has_ids_of_its_own(vllm: httpx2.Client) -> None:
    assert create(vllm)["id"].startswith("video_gen_")


def test_vllm_omni_takes_more_fields(vllm: httpx2.Client) -> None:
    assert create(vllm, seed=7, fps=24, negative_prompt="fog")["status"] == "queued"


def test_vllm_omni_answers_a_failed_job_as_an_error_with_the_job(vllm: httpx2.Client) -> None:
    answer = retrieve(vllm, create(vllm, prompt="a kite [fail]"))
    assert (answer.status_code, answer.json()["status"]) == (400, "failed")


def test_vllm_omni_has_422_for_the_content_of_a_failed_job(vllm: httpx2.Client) -> None:
    video_id = create(vllm, prompt="a kite [fail]")["id"]
    assert vllm.get(f"/v1/videos/{video_id}/content").status_code == 422


def test_vllm_omni_lists_nothing_after_an_unknown_id(vllm: httpx2.Client) -> None:
    create(vllm)
    assert vllm.get("/v1/videos", params={"after": "video_gen_0"}).json()["data"] == []


def test_vllm_omni_aborts_a_running_job_by_delete(start: Start) -> None:
    api = start(imitates="vllm-omni")
    video = create(api)
    assert api.delete(f"/v1/videos/{video['id']}").json()["deleted"]
    assert retrieve(api, video).status_code == 404


@pytest.mark.parametrize("name", ["vllm-omni", "sglang"])
def test_a_server_that_keeps_jobs_in_memory_forgets_them_on_restart(start: Start, name: str) -> None:
    video = create(start(imitates=name))
    restarted = start(imitates=name)
    assert retrieve(restarted, video).status_code == 404
    assert restarted.get("/v1/videos").json()["data"] == []


# --- SGLang, docs/servers.md 1.3 ----------------------------------------------------------------------------


@pytest.fixture
def sglang(start: Start) -> httpx2.Client:
    return start(imitates="sglang", render_seconds=0)


@pytest.mark.parametrize(("seconds", "status"), [(4, 200), ("4", 422)])
def test_sglang_takes_seconds_as_an_integer(sglang: httpx2.Client, seconds: object, status: int) -> None:
    assert sglang.post("/v1/videos", json={**RENDER, "seconds": seconds}).status_code == status


def test_sglang_takes_the_variant_for_an_index(sglang: httpx2.Client) -> None:
    path = f"/v1/videos/{create(sglang)['id']}/content"
    answer = sglang.get(path, params={"variant": "video"})
    assert (answer.status_code, answer.json()) == (404, {"detail": "Video variant video not found"})
    assert sglang.get(path, params={"variant": "0"}).status_code == 200


def test_sglang_has_errors_without_a_code(sglang: httpx2.Client) -> None:
    error = retrieve(sglang, create(sglang, prompt="a kite [fail]")).json()["error"]
    assert error.keys() == {"message"}


def test_sglang_answers_a_deletion_with_the_video(sglang: httpx2.Client) -> None:
    answer = sglang.delete(f"/v1/videos/{create(sglang)['id']}").json()
    assert (answer["object"], answer["status"]) == ("video", "deleted")


def test_sglang_refuses_a_limit_of_0(sglang: httpx2.Client) -> None:
    assert sglang.get("/v1/videos", params={"limit": 0}).status_code == 422


def test_sglang_asks_for_no_key(sglang: httpx2.Client) -> None:
    del sglang.headers["authorization"]
    assert create(sglang)["object"] == "video"


# --- TensorRT-LLM 1.4, new-api 1.6, Merge 1.7 ----------------------------------------------------------


def test_trtllm_has_words_of_its_own_for_a_job_under_way(start: Start, clock: Clock) -> None:
    api = start(imitates="trtllm", render_seconds=100)
    video = create(api)
    messages = [video["status"]]
    for seconds in (50, 45, 5):
        clock.advance(seconds)
        messages.append(retrieve(api, video).json()["status"])
    assert messages == ["queued", "generating", "encoding", "completed"]


def test_new_api_has_task_ids_milliseconds_and_nothing_empty(start: Start) -> None:
    video = create(start(imitates="new-api"))
    assert video["id"].startswith("task_")
    assert video["task_id"] == video["id"]
    assert video["created_at"] > 1_000_000_000_000
    assert None not in video.values()


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/videos"), ("DELETE", "/v1/videos/task_1")])
def test_new_api_has_neither_list_nor_delete(start: Start, method: str, path: str) -> None:
    answer = start(imitates="new-api").request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_url")


def test_merge_takes_json_only_and_answers_202(start: Start) -> None:
    api = start(imitates="merge", render_seconds=0)
    by_form = api.post("/v1/videos", files={name: (None, value) for name, value in RENDER.items()})
    by_json = api.post("/v1/videos", json={**RENDER, "seconds": 4})
    assert (by_form.status_code, by_json.status_code) == (400, 202)
    assert retrieve(api, by_json.json()).json()["cost"] == pytest.approx(0.4)


# --- faults behind an imitation ------------------------------------------------------------------------


def test_a_planned_429_comes_in_the_words_of_the_imitated_server(start: Start) -> None:
    api = start(imitates="litellm", faults=("create=429@7:1",))
    answer = api.post("/v1/videos", json=RENDER)
    assert (answer.status_code, answer.json()["error"]["type"]) == (429, "throttling_error")
    assert (answer.headers.get("retry-after"), answer.headers["llm_provider-retry-after"]) == (None, "7")
    assert json.loads(answer.json()["error"]["message"].partition(" - ")[2])["error"]["type"] == "requests"


# --- a server of your own, with the fields of the profile custom --------------------------------------------


def test_a_server_of_your_own_takes_seed_and_loop_and_shows_them(start: Start) -> None:
    own = start(imitates="custom")
    made = create(own, seed=7, loop="true")
    assert [retrieve(own, made).json()[name] for name in ("seed", "loop")] == [7, True]
    assert (made["seed"], made["loop"], "loop" in retrieve(own, create(own)).json()) == (7, True, False)


def test_a_server_of_your_own_refuses_a_seed_that_is_no_number(start: Start) -> None:
    parts = {name: (None, str(value)) for name, value in {**RENDER, "seed": "many"}.items()}
    answer = start(imitates="custom").post("/v1/videos", files=parts)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "seed")
