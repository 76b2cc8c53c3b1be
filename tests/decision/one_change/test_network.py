"""The network of the one-change rule: whole numbers, milliseconds, and the same odds everywhere."""

import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.one_change import network
from decision.one_change.network import load_network, odds_by_network, piece_numbers

DATA = Path(__file__).parents[1] / "data"
LARGEST = 1 << 31
Layers = Mapping[str, tuple[Any, Any]]


def tuning() -> list[str]:
    lines = (DATA / "remix-prompts-tuning.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["prompt"] for line in lines]


def floats_in_the_file() -> tuple[Any, Any, Mapping[str, Any], Layers]:
    """Return rows, places, gains and layers as fractions, read without the code of the program."""
    header, letters, content = zlib.decompress(network.FILE.read_bytes()).split(b"\n", 2)
    at = 2 * len(letters.split(b" "))

    def take(form: str, count: int, point: int) -> Any:
        nonlocal at
        found = np.frombuffer(content, f"<{form}", count, at).astype(float) / 2**point
        at += count * struct.calcsize(form)
        return found

    places = take("i", 128 * 64, 17).reshape(128, 64)
    gains = {name: take("h", 64, 7) for name in ("0.1", "0.2", "1.1", "1.2", "out")}
    layers = {}
    for name, (inputs, outputs) in json.loads(header).items():
        layers[name] = (take("h", inputs * outputs, 10).reshape(inputs, outputs), take("i", outputs, 17))
    return np.frombuffer(content, np.int8, -1, at).reshape(-1, 64) / 8, places, gains, layers


def odds_in_floats(
    numbers: list[int], rows: Any, places: Any, gains: Mapping[str, Any], layers: Layers
) -> float:
    def normed(values: Any, name: str) -> Any:
        return values / np.sqrt((values**2).mean(axis=1, keepdims=True)) * gains[name]

    def linear(values: Any, name: str) -> Any:
        return values @ layers[name][0] + layers[name][1]

    stream = rows[numbers] + places[: len(numbers)]
    for layer in "01":
        parts = (
            linear(normed(stream, f"{layer}.1"), f"{layer}.qkv").reshape(-1, 3, 4, 16).transpose(1, 2, 0, 3)
        )
        scores = np.exp(parts[0] @ parts[1].transpose(0, 2, 1) / 4)
        found = scores / scores.sum(axis=-1, keepdims=True) @ parts[2]
        stream = stream + linear(found.transpose(1, 0, 2).reshape(-1, 64), f"{layer}.attention")
        inner = np.maximum(linear(normed(stream, f"{layer}.2"), f"{layer}.inner"), 0)
        stream = stream + linear(inner, f"{layer}.outer")
    read = normed(stream, "out")
    pooled = np.concatenate([read.max(axis=0), read.mean(axis=0)])[None]
    return float(linear(np.maximum(linear(pooled, "pooled"), 0), "odds")[0, 0])


def test_whole_numbers_give_the_odds_that_numbers_with_fractions_give() -> None:
    weights = floats_in_the_file()
    for text in tuning()[::10]:
        numbers = piece_numbers(load_network(), text)
        assert odds_by_network(text) == pytest.approx(odds_in_floats(numbers, *weights), abs=0.25), text


def test_no_lane_overflows_whatever_the_text() -> None:
    _, _, gains, layers = floats_in_the_file()

    def most(name: str, gain: str) -> Any:
        """Return the largest outputs of a layer: what it reads has the length of its gains at most."""
        weight, added = layers[name]
        return 8.1 * np.linalg.norm(gains[gain][:, None] * weight, axis=0) + np.abs(added)

    for layer in "01":
        largest = most(f"{layer}.qkv", f"{layer}.1")
        inner = most(f"{layer}.inner", f"{layer}.2")
        assert largest.max() * 2**17 < LARGEST
        query, key, value = largest.reshape(3, 4, 16) * 2**7
        assert (query * key).sum(axis=1).max() < LARGEST
        assert value.max() * 128 * 2**12 < LARGEST
        assert (inner @ np.abs(layers[f"{layer}.outer"][0])).max() * 2**17 < LARGEST
        assert (value.ravel() @ np.abs(layers[f"{layer}.attention"][0])).max() * 2**10 < LARGEST


@given(st.lists(st.integers(-(1 << 31), (1 << 31) - 1), min_size=1, max_size=192))
def test_values_come_out_of_the_lanes_that_they_were_put_in(values: list[int]) -> None:
    assert list(network._unpack(network._pack(values), len(values))) == values


@given(st.text(max_size=400))
def test_any_text_has_odds(text: str) -> None:
    assert -50 < odds_by_network(text) < 50


def test_a_text_of_many_pieces_is_read_up_to_the_most_it_takes() -> None:
    for text in ("make it rain " * 9_000, "\ufdfa" * 30_000, " " * 30_000 + "make it rain " * 90):
        assert len(piece_numbers(load_network(), text)) == network.MOST_PIECES + 2
    assert load_network().longest * network.MOST_PIECES < network.MOST_LETTERS


@pytest.mark.parametrize(
    ("text", "odds"),
    [
        ("Make it rain and give her a red coat.", 471_620),
        ("Bitte den Himmel etwas dunkler.", -456_731),
        ("雨を降らせて、音楽を消して。", 498_074),
    ],
)
def test_equal_texts_have_exactly_equal_odds_on_every_machine(text: str, odds: int) -> None:
    assert odds_by_network(text) * (1 << 17) == odds
