"""Refusals that have nothing to do with the request: the key, the account, the model. For `faults`.

Status, code and words are those of the real API where they are known. It names no code for an organisation
that is not verified; the word of the specification, ``not_verified``, is ours alone.
"""

from sora_adapter.sandbox.wire.errors import ApiError

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
