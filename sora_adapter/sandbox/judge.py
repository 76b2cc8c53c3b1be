"""Chat completions of the sandbox: a judge of remixes that counts clauses, always with the same result.

It stands in for a chat model, so that a policy with a judge can be tried without one. It answers with a
verdict if the last message is a JSON object with a ``text``, and otherwise with a sentence. It knows a few
English words, and shares no rule with the product's own verdict on remixes.
"""

import hashlib
import json
import re

from sora_adapter.sandbox.wire.relay import Json
from sora_adapter.serving.bodies import Fields, type_name
from sora_adapter.serving.errors import ApiError
from sora_adapter.serving.fields import require

MODEL = "sandbox-judge"
_JOINTS = re.compile(
    r"\s*(?:[;.!?。;、]+|,?\s+(?:and then|and also|then|and|plus|while also)\s+)\s*", re.IGNORECASE
)
_STAYS = re.compile(
    r"^\s*(?:keep|leave|preserve|same|everything else|nothing else|don't|do not)\b", re.IGNORECASE
)
_LEFT_OPEN = re.compile(r"\b(?:or|maybe|something|somehow|verdict|judge|instructions?)\b", re.IGNORECASE)
_ASPECTS = {
    "palette": "colour color colours colors palette teal red blue green yellow white black purple",
    "lighting": "light lights lighting night dusk dawn neon sunset shadow shadows",
    "camera": "camera zoom pan tilt dolly lens closeup wider closer shot",
    "setting": "rain snow fog desert city street beach background sky weather",
    "audio": "music sound audio voice silence",
    "style": "style watercolour watercolor anime grain noir",
}


def complete(fields: Fields) -> Json:
    """Return a chat completion for ``messages``."""
    require(fields, "messages")
    messages = fields["messages"]
    if not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict):
        raise ApiError.wrong_type("messages", "an array of objects", type_name(messages))
    model = fields.get("model") or MODEL
    if not isinstance(model, str):
        raise ApiError.wrong_type("model", "a string", type_name(model))
    question = str(messages[-1].get("content", ""))
    digest = hashlib.sha256(question.encode(errors="replace")).hexdigest()
    message = {"role": "assistant", "content": _answer(question)}
    return {
        "id": f"chatcmpl-{digest[:24]}",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }


def _answer(question: str) -> str:
    try:
        document = json.loads(question)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("text"), str):
        return "The sandbox only judges requests for remixes."
    return json.dumps(judge(document["text"]), ensure_ascii=False)


def judge(text: str) -> Json:
    """Return the verdict on `text`: its clauses, without those that say what stays."""
    clauses = [clause.strip() for clause in _JOINTS.split(text) if clause.strip()]
    changing = [clause for clause in clauses if not _STAYS.match(clause)]
    if _LEFT_OPEN.search(text):
        return {"verdict": "ambiguous", "changes": []}
    verdict = "none" if not changing else "single" if len(changing) == 1 else "multiple"
    return {"verdict": verdict, "changes": [{"quote": one, "aspect": _aspect(one)} for one in changing]}


def _aspect(clause: str) -> str:
    words = set(re.findall(r"[a-z]+", clause.lower()))
    return next((aspect for aspect, known in _ASPECTS.items() if words & set(known.split())), "subject")
