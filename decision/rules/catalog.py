"""The catalog: models, sizes, lengths and prices, as data with dates and sources.

A catalog does not know today's date. If a fact has several dates, the newest applies; to use the prices of
another day, load the catalog of that day.
"""

from datetime import date
from typing import Annotated, Self

from pydantic import Field, StrictBool, StringConstraints, model_validator

from decision.rules.document import Document, Entry

Size = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$")]
SizeClass = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]
ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.\-]*$", max_length=64)]
PositiveInt = Annotated[int, Field(gt=0, lt=2**31, strict=True)]


class SizeOffer(Entry):
    """A size, WIDTHxHEIGHT in pixels, and its price class."""

    size: Size
    size_class: SizeClass
    from_date: date = Field(alias="from")
    source: str


class SecondsOffer(Entry):
    """Lengths of a clip in whole seconds."""

    values: tuple[PositiveInt, ...] = Field(min_length=1)
    from_date: date = Field(alias="from")
    source: str


class Price(Entry):
    """The price of one second of video in a size class, in micro-dollars."""

    size_class: SizeClass
    usd_micros_per_second: PositiveInt
    from_date: date = Field(alias="from")
    source: str


class Model(Entry):
    """One model and what it offers; every size has a price.

    `retired` says when and why it is no longer served; it stays in the catalog for its existing videos.
    """

    name: ModelName
    source: str
    retired: str | None = None
    size_offers: tuple[SizeOffer, ...] = Field(alias="sizes", min_length=1)
    seconds_offers: tuple[SecondsOffer, ...] = Field(alias="seconds", min_length=1)
    prices: tuple[Price, ...]

    @property
    def sizes(self) -> tuple[str, ...]:
        """The sizes in the order of the catalog."""
        return tuple(offer.size for offer in self.size_offers)

    @property
    def seconds(self) -> tuple[int, ...]:
        """The lengths, ascending."""
        return tuple(sorted({value for offer in self.seconds_offers for value in offer.values}))

    def cost_usd_micros(self, size: str, seconds: int, on: date | None = None) -> int | None:
        """Return the price of `seconds` at `size` in micro-dollars, None if the size has no price.

        Prices are those of the day `on`, by default the latest.
        """
        classes = [offer.size_class for offer in self.size_offers if offer.size == size]
        prices = [
            price
            for price in self.prices
            if price.size_class in classes and (on is None or price.from_date <= on)
        ]
        if not prices:
            return None
        return seconds * max(prices, key=lambda price: price.from_date).usd_micros_per_second

    @model_validator(mode="after")
    def _says_each_thing_once(self) -> Self:
        dated = [(price.size_class, price.from_date) for price in self.prices]
        twice = next((price for price in dated if dated.count(price) > 1), None)
        if twice:
            raise ValueError(
                f"{self.name} has two prices for one size class from the same date ({twice[0]},"
                f" {twice[1]}): their dates overlap, so which one holds cannot be told"
            )
        if len(set(self.sizes)) < len(self.sizes):
            raise ValueError(f"{self.name} offers a size twice")
        unpriced = {offer.size_class for offer in self.size_offers} - {
            price.size_class for price in self.prices
        }
        if unpriced:
            raise ValueError(f"{self.name} offers sizes without a price: {', '.join(sorted(unpriced))}")
        return self


class PromptLimit(Entry):
    """The maximum length of a prompt, in characters (code points)."""

    max_characters: PositiveInt
    source: str


class ImageFormats(Entry):
    """The media types of reference images, and the maximum length of their URL in characters.

    With `any_size`, an image may differ in size from the video: some servers scale it.
    """

    media_types: tuple[str, ...] = Field(min_length=1)
    max_url_characters: PositiveInt
    any_size: StrictBool | None = None
    source: str


class VideoFormats(Entry):
    """The media types of videos that are uploaded for editing."""

    media_types: tuple[str, ...] = Field(min_length=1)
    source: str


class CharacterLimit(Entry):
    """The maximum number of characters in one video."""

    max_per_video: PositiveInt
    source: str


class ExtensionLimits(Entry):
    """Lengths of an extension, the number allowed, and the maximum total length in whole seconds."""

    seconds: tuple[PositiveInt, ...] = Field(min_length=1)
    max_times: PositiveInt
    max_total_seconds: PositiveInt
    source: str

    def list_fitting(self, source_seconds: int) -> tuple[int, ...]:
        """Return the lengths that can be added to a video of `source_seconds`, ascending."""
        room = self.max_total_seconds - source_seconds
        return tuple(sorted(seconds for seconds in self.seconds if seconds <= room))


class Snapshot(Entry):
    """A dated version of a model under a separate name, with the same offers and prices."""

    name: ModelName
    model: ModelName
    source: str


class Catalog(Document):
    """Everything on offer, with the models in the order of the file.

    Snapshots are used only when requested by name, so they are not in `models`.
    """

    name: str
    prompt: PromptLimit
    image: ImageFormats
    source_file: VideoFormats
    characters: CharacterLimit
    extension: ExtensionLimits
    models: tuple[Model, ...] = Field(min_length=1)
    snapshots: tuple[Snapshot, ...] = ()

    @property
    def model_names(self) -> tuple[str, ...]:
        """Every name that can be requested: the models in the order of the catalog, then the snapshots."""
        return tuple(model.name for model in self.models) + tuple(entry.name for entry in self.snapshots)

    @property
    def sizes(self) -> tuple[str, ...]:
        """Every size that a model offers."""
        return tuple(dict.fromkeys(size for model in self.models for size in model.sizes))

    @property
    def seconds(self) -> tuple[int, ...]:
        """Every length that a model offers, ascending."""
        return tuple(sorted({seconds for model in self.models for seconds in model.seconds}))

    def model(self, name: str) -> Model | None:
        """Return the model or snapshot called `name`, or None."""
        tier = next((snapshot.model for snapshot in self.snapshots if snapshot.name == name), name)
        found = next((model for model in self.models if model.name == tier), None)
        return found.model_copy(update={"name": name}) if found else None

    def cost_usd_micros(self, model: str, size: str, seconds: int, on: date | None = None) -> int | None:
        """Return the cost of a render in micro-dollars on a day, None if it has no price on that day."""
        entry = self.model(model)
        return entry.cost_usd_micros(size, seconds, on) if entry else None

    def explain_retirement(self, model: str) -> str | None:
        """Return why the model is no longer served, None if it is served or unknown."""
        entry = self.model(model)
        return entry.retired if entry else None

    @model_validator(mode="after")
    def _has_a_model_that_is_served(self) -> Self:
        if all(model.retired for model in self.models):
            raise ValueError("every model is retired; nothing could be rendered")
        return self

    @model_validator(mode="after")
    def _names_each_model_once(self) -> Self:
        if len(set(self.model_names)) < len(self.models) + len(self.snapshots):
            raise ValueError("a model is named twice")
        models = {model.name for model in self.models}
        strays = [snapshot.name for snapshot in self.snapshots if snapshot.model not in models]
        if strays:
            raise ValueError(f"{strays[0]} is a snapshot of a model that is not there")
        return self
