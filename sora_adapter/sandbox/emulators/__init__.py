"""Imitations of servers that deviate from the protocol, as layers around the sandbox.

`servers` has a class for each server; comments cite the section of docs/servers.md that documents a
deviation. Behaviour that the page does not describe is the sandbox's. `base` has the shared code.
"""

from starlette.middleware import Middleware

from sora_adapter.sandbox.emulators.base import Imitation
from sora_adapter.sandbox.emulators.servers import (
    LiteLLM,
    Merge,
    NewApi,
    OwnServer,
    SGLang,
    TensorRTLLM,
    VLLMOmni,
)

_IMITATIONS: dict[str, type[Imitation]] = {
    "litellm": LiteLLM,
    "vllm-omni": VLLMOmni,
    "sglang": SGLang,
    "trtllm": TensorRTLLM,
    "new-api": NewApi,
    "merge": Merge,
    "custom": OwnServer,
}
NAMES = tuple(_IMITATIONS)


def imitation(name: str | None) -> list[Middleware]:
    """Return the layer that emulates a server, or none for None; raises ValueError for an unknown name."""
    if name is None:
        return []
    if name not in _IMITATIONS:
        raise ValueError(f"the sandbox cannot imitate {name!r} (known: {', '.join(NAMES)})")
    return [Middleware(_IMITATIONS[name])]
