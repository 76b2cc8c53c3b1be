"""A small network that tells one change from several by the meaning of words; no library, no floats.

It learned from the encoder of the extra ``one-change`` (`decision.one_change.encoder`): a row of 64 numbers
for each piece of a word, two layers of attention, and the odds. Its weights are integers in the file
``network.model``, which `tools/train_one_change_network.py` writes, and all intermediate values are integers
too: equal texts have equal odds on every machine.

Rows of a matrix are integers of thousands of bits, with a lane of 32 bits for each weight. One Python
multiplication then multiplies a whole row, which is why a text takes only milliseconds.
"""

import json
import struct
import unicodedata
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import accumulate
from math import isqrt
from operator import add, mul
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("network.model")

WIDTH, INNER, LAYERS, ATTENTIONS, POOLED = 64, 128, 2, 4, 32
HEAD = WIDTH // ATTENTIONS
MOST_PIECES = 126
MOST_LETTERS = 2_500
"""More than any number of pieces that are read."""
POINT, WEIGHT_POINT, ROW_POINT = 7, 10, 3
"""Binary places of numbers between layers, of weights, and of rows of pieces."""
_STREAM_POINT = POINT + WEIGHT_POINT
"""Binary places of the sums in layers."""
_LARGEST = (1 << 11) - 1
_LANE = 32
_HALF = 1 << (_LANE - 1)
GAINS = (*(f"{layer}.{half}" for layer in range(LAYERS) for half in (1, 2)), "out")
_SPACE = "\u2581"
_FAR = -(1 << 40)
_UNKNOWN_COSTS = 1_000
"""Cost of an unknown letter above the rarest piece."""
_STEPS, _SHARES = 5, 12
"""Binary places of the steps of the exponential table, and of its values."""

Vector = Sequence[int]


class Matrix(NamedTuple):
    """A layer: a packed row for each input, and the packed bias; `size` is the number of outputs."""

    rows: Sequence[int]
    added: int
    size: int


class Network(NamedTuple):
    """The numbers and scores of pieces by their letters, the rows of pieces and places, and the layers."""

    pieces: Mapping[str, tuple[int, int]]
    longest: int
    unknown_score: int
    rows: memoryview
    places: Sequence[Vector]
    gains: Mapping[str, Vector]
    layers: Mapping[str, Matrix]


def odds_by_network(text: str) -> float:
    """Return the log odds that `text` asks for several changes; 0 is undecided."""
    network = load_network()
    rows = [_row(network, number) for number in piece_numbers(network, text)]
    stream = [
        [(value << (_STREAM_POINT - ROW_POINT)) + place for value, place in zip(row, places, strict=True)]
        for row, places in zip(rows, network.places, strict=False)
    ]
    for layer in range(LAYERS):
        stream = _layer(network, f"{layer}", stream)
    read = [_normalize(values, network.gains["out"]) for values in stream]
    columns = list(zip(*read, strict=True))
    pooled = [*map(max, columns), *(sum(column) // len(column) for column in columns)]
    inner = _rectify(_product(network.layers["pooled"], pooled))
    return _product(network.layers["odds"], inner)[0] / (1 << _STREAM_POINT)


@cache
def load_network() -> Network:
    """Return the network in the package, read once per process."""
    header, letters, content = zlib.decompress(FILE.read_bytes()).split(b"\n", 2)
    shapes: Mapping[str, tuple[int, int]] = json.loads(header)
    pieces = letters.decode().split(" ")
    at = 0

    def numbers(form: str, count: int) -> Vector:
        nonlocal at
        found = struct.unpack_from(f"<{count}{form}", content, at)
        at += struct.calcsize(f"<{count}{form}")
        return found

    scores = numbers("h", len(pieces))
    places = numbers("i", (MOST_PIECES + 2) * WIDTH)
    gains = {name: numbers("h", WIDTH) for name in GAINS}
    layers = {name: _matrix(numbers, *shape) for name, shape in shapes.items()}
    return Network(
        pieces={piece: (number, scores[number]) for number, piece in enumerate(pieces)},
        longest=max(map(len, pieces)),
        unknown_score=min(scores) - _UNKNOWN_COSTS,
        rows=memoryview(content)[at:].cast("b"),
        places=[places[start : start + WIDTH] for start in range(0, len(places), WIDTH)],
        gains=gains,
        layers=layers,
    )


def _matrix(numbers: Callable[[str, int], Vector], inputs: int, outputs: int) -> Matrix:
    rows = [_pack(numbers("h", outputs)) for _ in range(inputs)]
    return Matrix(rows, _pack(numbers("i", outputs)), outputs)


def piece_numbers(network: Network, text: str) -> list[int]:
    """Return the pieces of `text` with the best scores, at most `MOST_PIECES`, between start and end."""
    read = unicodedata.normalize("NFKC", " ".join(text.split())[:MOST_LETTERS])
    marked = (_SPACE + _SPACE.join(read.split()))[:MOST_LETTERS]
    size, unknown = len(marked), len(network.pieces)
    best = [0] + [_FAR] * size
    came = [(0, 0)] * (size + 1)
    find = network.pieces.get
    for start in range(size):
        so_far = best[start]
        for end in range(start + 1, min(size, start + network.longest) + 1):
            piece = find(marked[start:end])
            if piece is not None and so_far + piece[1] > best[end]:
                best[end], came[end] = so_far + piece[1], (piece[0], start)
        if so_far + network.unknown_score > best[start + 1]:
            best[start + 1], came[start + 1] = so_far + network.unknown_score, (unknown, start)
    found, end = [], size
    while end:
        number, end = came[end]
        found.append(number)
    return [unknown + 1, *found[::-1][:MOST_PIECES], unknown + 2]


def _row(network: Network, number: int) -> Vector:
    return network.rows[number * WIDTH : (number + 1) * WIDTH]


def _layer(network: Network, name: str, stream: list[list[int]]) -> list[list[int]]:
    """Return the stream after one layer: attention, then the inner network."""
    layers, gains = network.layers, network.gains
    read = [_product(layers[f"{name}.qkv"], _normalize(values, gains[f"{name}.1"])) for values in stream]
    attended = _attend([[value >> WEIGHT_POINT for value in values] for values in read])
    after = []
    for before, own in zip(stream, attended, strict=True):
        values = list(map(add, before, _product(layers[f"{name}.attention"], own)))
        inner = _rectify(_product(layers[f"{name}.inner"], _normalize(values, gains[f"{name}.2"])))
        after.append(list(map(add, values, _product(layers[f"{name}.outer"], inner))))
    return after


def _attend(read: Sequence[Vector]) -> list[list[int]]:
    """Return, for each piece, the mean of all values, weighted by how well its query fits their keys."""
    count, table = len(read), _exponential()
    attended: list[list[int]] = [[] for _ in read]
    for start in range(0, WIDTH, HEAD):
        of_keys, of_values = (slice(part * WIDTH + start, part * WIDTH + start + HEAD) for part in (1, 2))
        keys = [_pack(column) for column in zip(*(own[of_keys] for own in read), strict=True)]
        values = [_pack(own[of_values]) for own in read]
        for own, found in zip(read, attended, strict=True):
            scores = _unpack(sum(map(mul, own[start : start + HEAD], keys)), count)
            least = max(scores) - _FARTHEST
            shares = [table[(score - least) >> _SCORE_SHIFT] if score > least else 0 for score in scores]
            total = sum(shares)
            found += [value // total for value in _unpack(sum(map(mul, shares, values)), HEAD)]
    return attended


_SCORE_SHIFT = 2 * POINT + 2 - _STEPS
"""From the places of a product of query and key, divided by the root of `HEAD`, to steps of the table."""
_NOTHING = 10 << _STEPS
"""This many steps below the best score, a share is zero."""
_FARTHEST = _NOTHING << _SCORE_SHIFT


@cache
def _exponential() -> list[int]:
    """Return ``exp(n / 32)`` for every integer n up to 0, from `_NOTHING` steps below."""
    falls = 1_117_449_839_007_427_529  # 2 ** 60 * exp(-1 / 32)
    exact = accumulate(range(_NOTHING), lambda value, _: value * falls >> 60, initial=1 << 60)
    return [(value + (1 << (59 - _SHARES))) >> (60 - _SHARES) for value in exact][::-1]


def _normalize(values: Vector, gains: Vector) -> list[int]:
    """Return `values` divided by the root of the mean of their squares, times `gains`."""
    root = isqrt(sum(map(mul, values, values)) // WIDTH) or 1
    return [value // root for value in map(mul, values, gains)]


def _rectify(values: Vector) -> list[int]:
    """Return the positive values; zero for the others."""
    return [value >> WEIGHT_POINT if value > 0 else 0 for value in values]


def _product(matrix: Matrix, values: Vector) -> Vector:
    return _unpack(sum(map(mul, matrix.rows, values), matrix.added), matrix.size)


def _pack(values: Vector) -> int:
    """Return `values` as one integer with a lane for each."""
    halves = _halves(len(values))
    return (int.from_bytes(struct.pack(f"<{len(values)}i", *values), "little") ^ halves) - halves


def _unpack(packed: int, count: int) -> Vector:
    """Return the values in the lanes of `packed`; none is larger than a lane."""
    halves = _halves(count)
    return struct.unpack(f"<{count}i", ((packed + halves) ^ halves).to_bytes(count * 4, "little"))


@cache
def _halves(count: int) -> int:
    return sum(_HALF << (_LANE * number) for number in range(count))
