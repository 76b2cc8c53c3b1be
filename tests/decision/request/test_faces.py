"""A face in the reference image: ignored, warned of, or denied, as the policy says."""

from collections.abc import Callable

import pytest

from decision.engine.decide import decide
from decision.engine.explain import list_reasons
from decision.request.request import RenderRequest
from decision.rules.catalog import Catalog
from decision.rules.policy import FaceRule, Policy
from decision.rules.toml import load_document
from ledger.events import RenderDecided, RenderDenied, Ruling

Decide = Callable[[str | None, str | None], Ruling]


@pytest.fixture
def with_image(catalog: Catalog, policy: Policy, parse: Callable[..., RenderRequest]) -> Decide:
    def with_image(faces: str | None, rule: str | None) -> Ruling:
        image = {"name": "a.png", "sha256": "0" * 64, "media_type": "image/png", "bytes": 9, "faces": faces}
        request = parse(input_reference={**image, "width": 1280, "height": 720})
        own = policy.model_copy(update={"reference_faces": rule and FaceRule(rule)})
        return decide(request, catalog=catalog, policy=own)

    return with_image


@pytest.mark.parametrize("rule", [None, "warn"])
def test_a_face_is_warned_of_unless_the_policy_says_more(with_image: Decide, rule: str | None) -> None:
    ruled = with_image("found", rule)
    assert isinstance(ruled, RenderDecided)
    assert "FACE_IN_REFERENCE" in ruled.reason_codes


@pytest.mark.parametrize("rule", ["block", "require"])
def test_a_policy_can_deny_a_face(with_image: Decide, rule: str) -> None:
    ruled = with_image("found", rule)
    assert isinstance(ruled, RenderDenied)
    assert ruled.denial_trace.detail_code == "FACE_IN_IMAGE"


@pytest.mark.parametrize(
    ("rule", "denied"), [("ignore", False), ("warn", False), ("block", False), ("require", True)]
)
def test_only_a_policy_that_requires_a_look_denies_what_nobody_looked_at(
    with_image: Decide, rule: str, *, denied: bool
) -> None:
    assert isinstance(with_image("not_checked", rule), RenderDenied) is denied


def test_what_nobody_looked_at_is_recorded_as_such(with_image: Decide) -> None:
    ruled = with_image("not_checked", None)
    assert (ruled.basis.inputs["reference_faces"], "was not looked at" in " ".join(list_reasons(ruled))) == (
        "not_checked",
        True,
    )


def test_a_policy_that_ignores_faces_says_nothing_of_them(with_image: Decide) -> None:
    ruled = with_image("found", "ignore")
    assert isinstance(ruled, RenderDecided)
    assert "FACE_IN_REFERENCE" not in ruled.reason_codes


@pytest.mark.parametrize(
    ("faces", "warned"),
    [
        (None, set()),
        ("none", set()),
        ("found", {"FACE_IN_REFERENCE"}),
        ("not_checked", {"FACES_NOT_CHECKED"}),
    ],
)
def test_each_finding_has_a_warning_of_its_own(
    with_image: Decide, faces: str | None, warned: set[str]
) -> None:
    ruled = with_image(faces, None)
    assert isinstance(ruled, RenderDecided)
    assert {code for code in ruled.reason_codes if "FACE" in code} == warned


def test_a_request_without_an_image_says_nothing_of_faces(with_image: Decide) -> None:
    assert "reference_faces" not in with_image(None, None).basis.inputs


def test_a_policy_file_says_what_a_face_means(policy: Policy) -> None:
    from importlib.resources import files  # noqa: PLC0415  # only here

    text = files("decision").joinpath("policy.toml").read_text(encoding="utf-8")
    own = load_document(
        Policy, text.replace('# reference_faces = "block"', 'reference_faces = "block"').encode()
    )
    assert own.reference_faces is FaceRule.BLOCK
