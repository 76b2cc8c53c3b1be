"""Stand-ins for models: chat completions that judge remixes, and moderations, always with the same results.

They allow trying a policy with a judge or guardrails without a model. The judge counts clauses, and answers
with a verdict if the last message is a JSON object with a ``text``, otherwise with a sentence. It shares no
rule with the product's own verdict on remixes. Moderations have the categories of OpenAI's endpoint, by
words. Both know a few English words, but no people, characters or songs: OpenAI's endpoint has no categories
for those either.
"""

import hashlib
import json
import re
from collections.abc import Mapping

from sora_adapter.sandbox.wire.relay import Json
from sora_adapter.serving.bodies import Fields, type_name
from sora_adapter.serving.errors import ApiError
from sora_adapter.serving.fields import require

MODERATION_MODEL = "omni-moderation-latest"
_WORDS: Mapping[str, str] = {
    "harassment": r"bully|bullying|humiliat\w+",
    "harassment/threatening": r"threaten\w*",
    "hate": r"racist|nazi\w*",
    "hate/threatening": r"lynch\w*",
    "illicit": r"cocaine|heroin|shoplift\w*",
    "illicit/violent": r"pipe bomb|car bomb",
    "self-harm": r"suicid\w+|self-harm",
    "self-harm/intent": r"kill myself",
    "self-harm/instructions": r"how to kill myself",
    "sexual": r"nude|naked|erotic|porn\w*",
    "sexual/minors": r"nude child\w*|naked child\w*",
    "violence": r"gory|gore|behead\w*|stabb?\w*|murder\w*|massacre|mutilat\w+|dismember\w*",
    "violence/graphic": r"gory|gore|behead\w*|mutilat\w+|dismember\w*|entrails|severed",
}
_HINTS: Mapping[str, str] = {"violence": r"fight\w*|battle|gun|blood\w*", "violence/graphic": r"blood\w*"}
"""Words that raise a score without flagging the text."""
_NONE, _HINT, _ONE, _SEVERAL = 0.0002, 0.35, 0.81, 0.97


def moderate(fields: Fields) -> Json:
    """Return the moderation of ``input``: a text, a list of texts or of parts; images are ignored."""
    texts = _texts(fields)
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    model = fields.get("model") or MODERATION_MODEL
    if not isinstance(model, str):
        raise ApiError.wrong_type("model", "a string", type_name(model))
    return {"id": f"modr-{digest[:24]}", "model": model, "results": [_result(text) for text in texts]}


def _texts(fields: Fields) -> list[str]:
    require(fields, "input")
    inputs = fields["input"]
    if isinstance(inputs, str):
        return [inputs]
    if isinstance(inputs, list) and inputs and all(isinstance(item, str) for item in inputs):
        return [str(item) for item in inputs]
    if isinstance(inputs, list) and inputs and all(isinstance(item, dict) for item in inputs):
        return ["\n".join(str(item.get("text", "")) for item in inputs if isinstance(item, dict))]
    raise ApiError.wrong_type("input", "a string or an array", type_name(inputs))


def _result(text: str) -> Json:
    scores = {category: _score(category, text) for category in _WORDS}
    categories = {category: score >= _ONE for category, score in scores.items()}
    return {
        "flagged": any(categories.values()),
        "categories": categories,
        "category_scores": scores,
        "category_applied_input_types": {name: ["text"] for name in _WORDS},
    }


def _score(category: str, text: str) -> float:
    words = _find(_WORDS[category], text)
    if words:
        return _SEVERAL if len(words) > 1 else _ONE
    hint = _HINTS.get(category)
    return _HINT if hint and _find(hint, text) else _NONE


def _find(pattern: str, text: str) -> set[str]:
    return {match[0].lower() for match in re.finditer(rf"\b(?:{pattern})\b", text, re.IGNORECASE)}


JUDGE_MODEL = "sandbox-judge"
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
    model = fields.get("model") or JUDGE_MODEL
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
    return {"verdict": verdict, "changes": [{"quote": quote, "aspect": _aspect(quote)} for quote in changing]}


def _aspect(clause: str) -> str:
    words = set(re.findall(r"[a-z]+", clause.lower()))
    return next((aspect for aspect, known in _ASPECTS.items() if words & set(known.split())), "subject")
