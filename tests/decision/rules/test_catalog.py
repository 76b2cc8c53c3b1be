"""Catalog: data with sources, identified by its content."""

from datetime import date
from typing import Any

import pytest
import tomlkit

from decision.errors import BadDocument, BadRequest
from decision.request.attachments import ReferenceImage, check_first_frame
from decision.rules.catalog import Catalog
from decision.rules.toml import load_document

SMALL = """
version = 1
name = "small"
prompt = { max_characters = 10, source = "s" }
image = { media_types = ["image/png"], max_url_characters = 10, source = "s" }
source_file = { media_types = ["video/mp4"], source = "s" }
characters = { max_per_video = 1, source = "s" }
extension = { seconds = [4], max_times = 1, max_total_seconds = 8, source = "s" }
[[models]]
name = "m"
source = "s"
seconds = [{ from = 2025-01-01, source = "s", values = [4] }]
sizes = [{ size = "64x64", size_class = "tiny", from = 2025-01-01, source = "s" }]
prices = [{ size_class = "tiny", usd_micros_per_second = 10, from = 2025-01-01, source = "s" }]
"""


@pytest.mark.parametrize(
    ("model", "size", "micros"),
    [
        ("sora-2", "1280x720", 400_000),
        ("sora-2-pro", "720x1280", 1_200_000),
        ("sora-2-pro", "1792x1024", 2_000_000),
        ("sora-2-pro", "1080x1920", 2_800_000),
    ],
)
def test_four_seconds_cost_what_the_price_list_said(
    catalog: Catalog, model: str, size: str, micros: int
) -> None:
    assert catalog.cost_usd_micros(model, size, 4) == micros


@pytest.mark.parametrize(
    ("snapshot", "model"),
    [
        ("sora-2-2025-10-06", "sora-2"),
        ("sora-2-2025-12-08", "sora-2"),
        ("sora-2-pro-2025-10-06", "sora-2-pro"),
    ],
)
def test_a_snapshot_offers_and_costs_what_its_model_does(catalog: Catalog, snapshot: str, model: str) -> None:
    assert catalog.cost_usd_micros(snapshot, "1280x720", 8) == catalog.cost_usd_micros(model, "1280x720", 8)


@pytest.mark.parametrize(
    ("name", "named"), [("m", "named twice"), ("m-1", "snapshot of a model that is not")]
)
def test_a_snapshot_that_does_not_fit_is_refused(name: str, named: str) -> None:
    snapshot = f'[[snapshots]]\nname = "{name}"\nmodel = "x"\nsource = "s"\n'
    with pytest.raises(BadDocument, match=named):
        load_document(Catalog, f"{SMALL}{snapshot}".encode())


def test_a_size_the_model_does_not_offer_has_no_cost(catalog: Catalog) -> None:
    assert catalog.cost_usd_micros("sora-2", "1792x1024", 4) is None


def test_a_model_that_is_not_there_has_no_cost(catalog: Catalog) -> None:
    assert catalog.cost_usd_micros("sora-3", "1280x720", 4) is None


def test_every_fact_of_the_packaged_catalog_names_its_source(catalog: Catalog) -> None:
    facts: list[Any] = [
        fact
        for model in catalog.models
        for fact in (*model.size_offers, *model.seconds_offers, *model.prices)
    ]
    assert all(fact.source for fact in (*facts, *catalog.models, catalog.prompt, catalog.image))


def test_the_digest_ignores_comments_and_the_order_of_keys() -> None:
    document = tomlkit.parse(SMALL)
    reordered = tomlkit.dumps(dict(reversed(document.unwrap().items())))
    assert (
        load_document(Catalog, f"# changed\n{reordered}".encode()).digest
        == load_document(Catalog, SMALL.encode()).digest
    )


def test_the_digest_changes_with_a_price() -> None:
    dearer = SMALL.replace("usd_micros_per_second = 10", "usd_micros_per_second = 11")
    assert load_document(Catalog, dearer.encode()).digest != load_document(Catalog, SMALL.encode()).digest


def test_a_changed_copy_has_a_digest_of_its_own(catalog: Catalog) -> None:
    before = catalog.digest
    assert catalog.model_copy(update={"name": "other"}).digest != before


def test_the_canonical_bytes_give_the_catalog_back(catalog: Catalog) -> None:
    assert Catalog.model_validate_json(catalog.canonical) == catalog


def test_the_newest_price_of_a_size_class_holds() -> None:
    newer = '  { size_class = "tiny", usd_micros_per_second = 30, from = 2026-01-01, source = "s" },'
    two_prices = SMALL.replace("prices = [", f"prices = [\n{newer}\n")
    assert load_document(Catalog, two_prices.encode()).cost_usd_micros("m", "64x64", 4) == 120


@pytest.mark.parametrize(
    ("text", "instead", "named"),
    [
        ("version = 1", "version = 1\ncolour = 1", "colour"),
        (
            "usd_micros_per_second = 10",
            "usd_micros_per_second = -10",
            "models.0.prices.0.usd_micros_per_second",
        ),
        (
            "usd_micros_per_second = 10",
            "usd_micros_per_second = 0.5",
            "models.0.prices.0.usd_micros_per_second",
        ),
        ('prices = [{ size_class = "tiny"', 'prices = [{ size_class = "big"', "without a price: tiny"),
        ('name = "small"', "name = ", "line 3"),
    ],
)
def test_a_catalog_that_does_not_hold_together_is_refused_with_the_place(
    text: str, instead: str, named: str
) -> None:
    with pytest.raises(BadDocument, match=named):
        load_document(Catalog, SMALL.replace(text, instead).encode())


def test_two_prices_from_the_same_date_are_refused() -> None:
    price = '{ size_class = "tiny", usd_micros_per_second = 30, from = 2025-01-01, source = "s" }, '
    with pytest.raises(BadDocument, match="their dates overlap"):
        load_document(Catalog, SMALL.replace("prices = [", f"prices = [{price}").encode())


def test_a_price_holds_from_its_day_until_the_next(catalog: Catalog) -> None:
    model = catalog.model("sora-2")
    assert model is not None
    [price] = model.prices
    dearer = price.model_copy(update={"from_date": date(2027, 1, 1), "usd_micros_per_second": 150_000})
    raised = model.model_copy(update={"prices": (price, dearer)})
    days = [date(2025, 1, 1), date(2026, 12, 31), date(2027, 1, 1), None]
    assert [raised.cost_usd_micros("1280x720", 4, day) for day in days] == [None, 400_000, 600_000, 600_000]


def test_where_a_server_scales_images_one_of_another_size_is_taken(catalog: Catalog) -> None:
    image = ReferenceImage(name="a", sha256="0" * 64, media_type="image/png", width=90, height=160, bytes=9)
    with pytest.raises(BadRequest, match="is 90x160"):
        check_first_frame(image, "1280x720", catalog)
    scales = catalog.model_copy(update={"image": catalog.image.model_copy(update={"any_size": True})})
    check_first_frame(image, "1280x720", scales)
