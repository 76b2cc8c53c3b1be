"""A model that is not served any more: never chosen, denied by name, and told what there is instead."""

from collections.abc import Callable
from typing import Any

import pytest

from decision.engine.decide import decide
from decision.request.request import RenderRequest
from decision.rules.catalog import Catalog
from decision.rules.policy import Policy
from ledger.events import Fix, RenderDecided, RenderDenied, Ruling

Parse = Callable[..., RenderRequest]


@pytest.fixture
def without_pro(catalog: Catalog) -> Catalog:
    models = [
        model.model_copy(update={"retired": "since 2026-11-01"}) if model.name == "sora-2-pro" else model
        for model in catalog.models
    ]
    return catalog.model_copy(update={"models": tuple(models)})


@pytest.fixture
def ruled(without_pro: Catalog, policy: Policy) -> Callable[..., Ruling]:
    def ruled(request: RenderRequest, **changes: Any) -> Ruling:
        return decide(request, catalog=without_pro, policy=policy.model_copy(update=changes))

    return ruled


def test_a_retired_model_is_not_chosen(ruled: Callable[..., Ruling], parse: Parse) -> None:
    ruling = ruled(parse(purpose="final"))
    assert isinstance(ruling, RenderDecided)
    assert (ruling.model, ruling.why_not_runner_up) == ("sora-2", ("MODEL_RETIRED",))


def test_one_that_is_asked_for_is_denied_with_what_is_served(
    ruled: Callable[..., Ruling], parse: Parse
) -> None:
    ruling = ruled(parse(model="sora-2-pro"))
    assert isinstance(ruling, RenderDenied)
    assert ruling.denial_trace.minimal_fix == (Fix(field="model", action="set", value="sora-2"),)


def test_a_video_of_a_retired_model_leaves_a_new_render(
    ruled: Callable[..., Ruling], remix: Callable[..., RenderRequest], parse: Parse
) -> None:
    ruling = ruled(remix(source={"model": "sora-2-pro"}))
    assert isinstance(ruling, RenderDenied)
    assert ruling.denial_trace.minimal_fix[0] == Fix(field="operation", action="set", value="create")


def test_a_policy_can_allow_what_a_server_still_has(ruled: Callable[..., Ruling], parse: Parse) -> None:
    assert isinstance(ruled(parse(model="sora-2-pro"), allow_retired_models=True), RenderDecided)


def test_a_catalog_of_nothing_but_retired_models_is_refused(catalog: Catalog) -> None:
    retired = catalog.canonical.decode().replace('"source":"spec: VideoModel"', '"source":"x","retired":"x"')
    with pytest.raises(ValueError, match="every model is retired"):
        Catalog.model_validate_json(retired)
