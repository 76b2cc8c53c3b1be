"""Moderations of the sandbox: the categories of OpenAI's endpoint, by words, always with the same scores.

It stands in for a model, so that rules can be tried without one. It knows a few English words, and no people,
characters or songs: OpenAI's endpoint has no categories for those either.
"""

import hashlib
import re
from collections.abc import Mapping

from sora_adapter.sandbox.wire.relay import Json
from sora_adapter.serving.bodies import Fields, type_name
from sora_adapter.serving.errors import ApiError
from sora_adapter.serving.fields import require

MODEL = "omni-moderation-latest"
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
    """Return the moderation of ``input``: a text, a list of texts or of parts; images are not seen."""
    texts = _texts(fields)
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    model = fields.get("model") or MODEL
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
    words = _found(_WORDS[category], text)
    if words:
        return _SEVERAL if len(words) > 1 else _ONE
    hint = _HINTS.get(category)
    return _HINT if hint and _found(hint, text) else _NONE


def _found(pattern: str, text: str) -> set[str]:
    return {match[0].lower() for match in re.finditer(rf"\b(?:{pattern})\b", text, re.IGNORECASE)}
