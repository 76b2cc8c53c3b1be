"""TensorRT-LLM's trtllm-serve (docs/servers.md 1.4): two statuses of its own for a running job."""

from typing import ClassVar

from sora_adapter.sandbox.emulators.base import Imitation
from sora_adapter.sandbox.wire.relay import Json

_ENCODING_FROM = 90


class TensorRTLLM(Imitation):
    """docs/servers.md 1.4."""

    absent: ClassVar[frozenset[str]] = frozenset({"remix", "edit", "extend", "character", "get-character"})
    is_open: ClassVar[bool] = True  # 1.4: "no auth"

    def video(self, video: Json) -> Json:
        """1.4: "queued -> generating -> encoding -> completed"."""
        if video["status"] != "in_progress":
            return video
        return {**video, "status": "encoding" if video["progress"] >= _ENCODING_FROM else "generating"}
