"""What to change after a denial, in the words of a form."""

import re
from collections.abc import Callable
from importlib import resources
from types import ModuleType
from typing import Any

import pytest
from msgspec import structs

from decision.rules.roles import Permission
from ledger.events import Fix, RenderDenied
from render_service.submission.fix_commands import ways_out, who_can

FIXES = re.findall(
    r'^ +\("(\w+)", "(\w+)"\): ',
    resources.files("decision.engine").joinpath("explain.py").read_text(),
    re.MULTILINE,
)
"""Every change that the command line has words for."""


@pytest.fixture
def denied(vocabulary: ModuleType) -> Callable[..., RenderDenied]:
    """Return a denial with the changes of the test."""
    denial = vocabulary.sample("render.denied")

    def with_fixes(*fixes: Fix) -> RenderDenied:
        trace = structs.replace(denial.denial_trace, minimal_fix=fixes)
        return structs.replace(denial, denial_trace=trace)

    return with_fixes


@pytest.mark.parametrize(("field", "action"), FIXES)
def test_every_change_has_words_without_options_or_commands(denied: Any, field: str, action: Any) -> None:
    (words,) = ways_out(denied(Fix(field=field, action=action, value=3)))
    assert words[0].isupper()
    assert words.endswith(".")
    assert "--" not in words
    assert "sora-ledger" not in words
    assert not words.startswith(f"{action.capitalize()} {field.replace('_', ' ')}")


def test_a_change_of_a_later_version_is_reported_as_it_was_recorded(denied: Any) -> None:
    assert len(FIXES) > 20
    assert ways_out(denied(Fix(field="frame_rate", action="set", value=24))) == ["Set frame rate: 24."]


@pytest.mark.parametrize(
    ("field", "who"),
    [
        ("model", Permission.REQUEST),
        ("budget_left_usd_micros", Permission.ADMINISTER),
        ("draft", Permission.REVIEW),
    ],
)
def test_who_can_make_the_change(denied: Any, field: str, who: Permission) -> None:
    assert who_can(denied(Fix(field=field, action="wait"))) is who
