"""Refusals specific to the sandbox: its own limits, internal errors, and faults on demand."""

import logging

from sora_adapter.serving.errors import ApiError

_log = logging.getLogger(__name__)


def too_many_requests(model: str, limit: int, wait_s: int) -> ApiError:
    """Return the refusal of a job over the rate limit, with the time to wait."""
    message = (
        f"Rate limit reached for {model} on requests per min (RPM): Limit {limit}, Used {limit}, "
        f"Requested 1. Please try again in {wait_s}s."
    )
    return ApiError(message, code="rate_limit_exceeded", status=429, kind="requests", retry_after_s=wait_s)


def too_many_running() -> ApiError:
    """Return the refusal of one running job too many, in a real server's words, with no time to wait."""
    return ApiError("Too many running tasks", code=None, status=429, kind="video_generation_user_error")


def log_failure(cause: Exception) -> ApiError:
    """Log an internal error and return the answer for it; its cause is not secret on the reader's machine."""
    _log.error("sandbox.request.failed", exc_info=cause)
    message = f"The sandbox failed: {type(cause).__name__}: {cause}"
    return ApiError(message, code="server_error", status=500, kind="server_error")


REFUSALS: dict[str, ApiError] = {
    "invalid_api_key": ApiError(
        "Incorrect API key provided. You can find your API key at https://platform.openai.com/account/api-keys.",
        code="invalid_api_key",
        status=401,
    ),
    "not_verified": ApiError(
        "Your organization must be verified to use the model `sora-2`. Please go to: "
        "https://platform.openai.com/settings/organization/general and click on Verify Organization.",
        code=None,
        status=403,
    ),
    "model_not_found": ApiError(
        "The model `sora-2` does not exist or you do not have access to it.",
        code="model_not_found",
        status=404,
    ),
    "insufficient_quota": ApiError(
        "You exceeded your current quota, please check your plan and billing details.",
        code="insufficient_quota",
        status=429,
        kind="insufficient_quota",
    ),
    "billing_hard_limit_reached": ApiError(
        "Billing hard limit has been reached.", code="billing_hard_limit_reached"
    ),
}
