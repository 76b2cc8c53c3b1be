"""Secrets come from the environment, by profile; what is no secret is refused before anything is served."""

import base64
from pathlib import Path

import pytest

from render_service.runtime.errors import BadInput
from render_service.runtime.settings import read_settings
from render_service.webhooks.endpoints import webhook_secrets

NAME = "SORA_LEDGER_WEBHOOK_SECRETS"
ONE, TWO, THREE = ("whsec_" + base64.b64encode(bytes([n] * 24)).decode() for n in range(3))


def secrets(tmp_path: Path, **variables: str) -> dict[str, tuple[str, ...]]:
    settings = read_settings(
        environment={"SORA_LEDGER_PROFILE": "sandbox", "SORA_LEDGER_ACTOR": "ana"} | variables,
        folder=tmp_path,
    )
    return dict(webhook_secrets(settings))


def test_the_plain_variable_is_for_the_chosen_profile(tmp_path: Path) -> None:
    assert secrets(tmp_path, **{NAME: ONE}) == {"sandbox": (ONE,)}


@pytest.mark.parametrize("text", [f"{ONE},{TWO}", f"{ONE} {TWO}", f" {ONE} ,\n{TWO} ", f"{ONE},{TWO},{ONE}"])
def test_several_secrets_may_be_valid_at_once(tmp_path: Path, text: str) -> None:
    assert secrets(tmp_path, **{NAME: text}) == {"sandbox": (ONE, TWO)}


def test_a_variable_may_name_its_profile(tmp_path: Path) -> None:
    found = secrets(tmp_path, **{NAME: ONE, f"{NAME}_NEW_API": TWO, f"{NAME}_SANDBOX": THREE})
    assert found == {"sandbox": (ONE, THREE), "new-api": (TWO,)}


def test_secrets_may_stand_in_the_settings_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"{NAME}={ONE}\n")
    assert secrets(tmp_path) == {"sandbox": (ONE,)}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({NAME: ""}, f"{NAME} is empty: set it"),
        ({NAME: " , "}, f"{NAME} is empty: set it"),
        ({NAME: "whsec_"}, f"{NAME}: expected a webhook secret"),
        ({NAME: f"{ONE},whsec_abc"}, f"{NAME}: expected a webhook secret"),
        ({f"{NAME}_NOBODY": ONE}, f"{NAME}_NOBODY: unknown profile"),
    ],
)
def test_what_is_no_secret_is_refused(tmp_path: Path, variables: dict[str, str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        secrets(tmp_path, **variables)


def test_secrets_are_not_shown_with_the_settings(tmp_path: Path) -> None:
    assert ONE not in repr(read_settings(environment={NAME: ONE}, folder=tmp_path))
