"""Train the network of the one-change rule: it writes ``decision/one_change/network.model``.

Run from the root of the repository, with the extra ``one-change``, torch, and what `tools.train_one_change`
needs: ``python -m tools.train_one_change_network [--vectors FOLDER]``. The networks of the encoder
(`tools.train_one_change_encoder`) are its teachers, so they are trained first.

The network learns three things at the same time: the labels of all requests in ``tools/one_change``; the
teachers' odds for requests mixed from those, by replacing the words of one change with another's and by
joining two requests; and, for each piece of a word, the teachers' vectors. After each round it prints how
many requests of the set ``tuning`` are classified correctly, by kind. The other measured sets are not used.
With ``--vectors``, the encoder's vectors, which take most of the time, are cached there.
"""

import argparse
import json
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from decision.one_change.encoder import (
    Encoder,
    load_encoder,
    load_heads,
    odds_of_head,
    piece_numbers,
    read_by_head,
    row_of,
)
from decision.one_change.network import (
    ATTENTIONS,
    FILE,
    GAINS,
    INNER,
    LAYERS,
    MOST_PIECES,
    POINT,
    POOLED,
    ROW_POINT,
    WEIGHT_POINT,
    WIDTH,
    load_network,
    odds_by_network,
)
from tools.train_one_change import plain, read
from tools.train_one_change_encoder import LOWER, TUNING, labelled_rows, vectors

MIXED, BATCH, RATE, DROPPED, FORGOTTEN = 20_000, 64, 3e-3, 0.15, 0.05
"""`FORGOTTEN` is the share of pieces that are treated as unknown."""
TEACHERS_SHARE, MIXED_WEIGHT = 0.7, 0.8
LONGEST_MIXTURE, LENGTHS_BESIDE = 260, range(9, 91)
IN_ENGLISH, IN_ANOTHER = 0.22, 0.13
JOINED, SWAPPED, SWAPPED_BESIDE, KEPT, SMALL = 0.2, 0.75, 0.6, 0.12, 0.7
"""How often two requests are joined, changes are swapped, a change stays, and a letter is lowercased."""
SPAN = re.compile("⟦(.*?)⟧")
SENTENCE = re.compile("(?<=[.!?;])\\s+|(?<=[。\uff01\uff1f\uff1b])")
STOPS = " .。!\uff01?\uff1f…"
JOINTS = {
    "en": ", and |. | and |; | plus |, also |. Also |, then |, | / | + |, oh and | while ",
    "de": ", und |. | und |; | plus |, außerdem |. Außerdem |, dann | sowie |. Und ",
    "es": ", y |. | y |; | además |, y además |. También |, luego | y de paso ",
    "fr": ", et |. | et |; | plus |, et aussi |. Et puis |, puis | et au passage ",
    "pt": ", e |. | e |; | além disso |, e também |. Também |, depois | e já agora ",
    "ja": "、|。|、あと|。あと|。それと|、それから|。ついでに|て、|し、",
    "zh": "\uff0c|。|\uff0c再|\uff0c另外|\uff0c然后|。还有|\uff0c顺便|\uff0c并且|\uff1b",
}
"""Connectives between two requests, by language."""
Row = dict[str, str]


class Case(NamedTuple):
    """The pieces of a request, the teachers' vectors for each, the odds of several, and a weight."""

    pieces: Any
    vectors: Any
    chance: float
    weight: float


class Mixer:
    """Mixes new requests from labelled ones."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.chance = np.random.default_rng(7)
        self.known = {plain(row) for row in rows}
        self.marked: dict[str, list[Row]] = defaultdict(list)
        self.spans: dict[str, list[str]] = defaultdict(list)
        self.single: dict[str, list[str]] = defaultdict(list)
        self.beside: dict[str, list[str]] = defaultdict(list)
        for row in rows:
            language = row.get("language", "en")
            if row["changes"] == "single":
                self.single[language].append(plain(row))
            if "⟦" in row["prompt"]:
                self.marked[language].append(row)
                self.spans[language] += SPAN.findall(row["prompt"])
                self.beside[language] += _unmarked(row) if row["changes"] == "single" else ()

    def mixtures(self, count: int) -> list[Row]:
        """Return `count` new requests, in random order; one in five in English."""
        mixed = []
        for language in JOINTS:
            missing = round(count * (IN_ENGLISH if language == "en" else IN_ANOTHER))
            while missing:
                row = self._mixed(language)
                if row and len(row["prompt"]) <= LONGEST_MIXTURE and row["prompt"] not in self.known:
                    self.known.add(row["prompt"])
                    mixed.append(row)
                    missing -= 1
        return [mixed[number] for number in self.chance.permutation(len(mixed))]

    def _mixed(self, language: str) -> Row | None:
        kind = self.chance.random()
        if kind < JOINED:
            one, other = (self._some(self.single[language]) for _ in range(2))
            joint = self._some(JOINTS[language].split("|"))
            return {"prompt": one.rstrip(STOPS) + joint + self._begun(other, language), "changes": "multiple"}
        row = self._some(self.marked[language])
        swaps = kind < SWAPPED or self.chance.random() < SWAPPED_BESIDE
        text = self._swapped(row, language) if swaps else plain(row)
        if kind < SWAPPED:
            return {"prompt": text, "changes": row["changes"]}
        if row["changes"] == "multiple" and self.chance.random() < SWAPPED_BESIDE:
            return None
        space, stop = ("", "。") if language in ("ja", "zh") else (" ", ".")
        first, second = text.strip(), self._some(self.beside[language])
        if self.chance.random() < SWAPPED_BESIDE:
            first, second = second, first
        first += "" if first[-1] in STOPS else stop
        return {"prompt": first + space + second, "changes": row["changes"]}

    def _some(self, choices: Sequence[Any]) -> Any:
        return choices[self.chance.integers(len(choices))]

    def _begun(self, text: str, language: str) -> str:
        small = language != "de" and self.chance.random() < SMALL
        return text[:1].lower() + text[1:] if small else text

    def _swapped(self, row: Row, language: str) -> str:
        """Return the text of a request with its changes replaced by others of similar length."""

        def other(match: re.Match[str]) -> str:
            own = match[1]
            if self.chance.random() < KEPT:
                return own
            for _ in range(20):
                found: str = self._some(self.spans[language])
                if abs(len(found) - len(own)) <= max(6, 0.6 * len(own)):
                    break
            if language == "de":
                return found
            return (found[:1].upper() if own[:1].isupper() else found[:1].lower()) + found[1:]

        return SPAN.sub(other, row["prompt"])


def _unmarked(row: Row) -> Iterator[str]:
    """Yield the sentences of a request that change nothing."""
    inside = 0
    for sentence in SENTENCE.split(row["prompt"]):
        if not inside and "⟦" not in sentence and len(sentence) in LENGTHS_BESIDE:
            yield sentence.strip()
        inside += sentence.count("⟦") - sentence.count("⟧")


class Norm(nn.Module):
    """Divides by the root mean square."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(WIDTH))

    def forward(self, values: Any) -> Any:
        """Return `values` with unit length, times the gain."""
        return values * torch.rsqrt((values * values).mean(-1, keepdim=True) + 1e-5) * self.gain


class Layer(nn.Module):
    """Attention, then an inner network; the output of each is added to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([Norm(), Norm()])
        self.qkv, self.attention = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.inner, self.outer = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.drop = nn.Dropout(DROPPED)

    def forward(self, stream: Any, mask: Any) -> Any:
        """Return the stream after this layer."""
        count, longest, _ = stream.shape
        parts = self.qkv(self.norms[0](stream)).view(count, longest, 3, ATTENTIONS, WIDTH // ATTENTIONS)
        found = functional.scaled_dot_product_attention(
            *parts.permute(2, 0, 3, 1, 4), attn_mask=mask[:, None, None]
        )
        stream = stream + self.drop(self.attention(found.transpose(1, 2).reshape(stream.shape)))
        return stream + self.drop(self.outer(functional.relu(self.inner(self.norms[1](stream)))))


class Student(nn.Module):
    """The network in floats, as `decision.one_change.network` computes it in integers."""

    def __init__(self, rows: Any, read: int) -> None:
        super().__init__()
        self.rows = rows
        self.project = nn.Linear(rows.shape[1], WIDTH, bias=False)
        main = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)[2][:WIDTH]
        self.project.weight.data = main / (rows @ main.T).std()
        self.places = nn.Parameter(torch.randn(MOST_PIECES + 2, WIDTH) * 0.1)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm, self.guess = Norm(), nn.Linear(WIDTH, read)
        self.pooled, self.odds = nn.Linear(2 * WIDTH, POOLED), nn.Linear(POOLED, 1)
        self.drop = nn.Dropout(DROPPED)

    def forward(self, pieces: Any, mask: Any) -> tuple[Any, Any]:
        """Return the odds of each request, and a guess of the teachers' vectors for each piece."""
        stream = self.drop(self.project(self.rows[pieces])) + self.places[: pieces.shape[1]]
        for layer in self.layers:
            stream = layer(stream, mask)
        read = self.norm(stream)
        largest = read.masked_fill(~mask[:, :, None], -1e4).max(1)[0]
        mean = (read * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        pooled = functional.relu(self.pooled(self.drop(torch.cat([largest, mean], 1))))
        return self.odds(pooled)[:, 0], self.guess(read)


def cases(
    rows: Sequence[Row], encoder: Encoder, known: dict[int, int], folder: Path | None, *, mixed: bool
) -> list[Case]:
    """Return the training examples from `rows`; `known` numbers the pieces of the network."""
    found, skipped = [], len(piece_numbers(encoder.pieces, "query: ")) - 2
    unknown, heads = len(known), [head for layers, head in load_heads() if layers == LOWER.stop]
    for row, own in zip(rows, vectors(rows, encoder, folder, LOWER.stop), strict=True):
        numbers = piece_numbers(encoder.pieces, f"query: {plain(row)}")
        inner = [known.get(number, unknown) for number in numbers[1 + skipped : -1]]
        several = float(row["changes"] == "multiple")
        chance = several * 0.96 + 0.02
        if mixed:
            said = np.mean([odds_of_head(head, own.astype(np.float32)) for head in heads])
            chance = TEACHERS_SHARE / (1 + np.exp(-said)) + (1 - TEACHERS_SHARE) * several
        read_so = np.concatenate([read_by_head(head, own.astype(np.float32)) for head in heads], axis=1)
        kept = np.concatenate([read_so[:1], read_so[1 + skipped :]]).astype(np.float16)
        pieces = np.array([unknown + 1, *inner, unknown + 2])
        found.append(Case(pieces, kept, chance, MIXED_WEIGHT if mixed else 1.0))
    return found


def batch_of(chosen: Sequence[Case], unknown: int) -> tuple[Any, Any, Any]:
    """Return the pieces, the mask and the vectors of some requests."""
    longest = max(len(case.pieces) for case in chosen)
    pieces = np.full((len(chosen), longest), unknown + 2)
    mask = np.zeros((len(chosen), longest), bool)
    states = np.zeros((len(chosen), longest, chosen[0].vectors.shape[1]), np.float32)
    for number, case in enumerate(chosen):
        pieces[number, : len(case.pieces)] = case.pieces
        mask[number, : len(case.pieces)] = True
        states[number, : len(case.pieces)] = case.vectors
    return torch.tensor(pieces), torch.tensor(mask), torch.tensor(states)


def batches(found: Sequence[Case], chance: np.random.Generator) -> Iterator[Sequence[Case]]:
    """Yield batches of requests of similar length, in a new order every time."""
    ordered = sorted(found, key=lambda case: len(case.pieces) + chance.random() * 6)
    parts = [ordered[start : start + BATCH] for start in range(0, len(ordered), BATCH)]
    yield from (parts[number] for number in chance.permutation(len(parts)))


def trained(student: Student, found: Sequence[Case], pieces: Sequence[str], scores: Any, epochs: int) -> None:
    """Train `student` on `found`; write and measure it after each round."""
    chance, unknown = np.random.default_rng(0), len(pieces)
    some = np.concatenate([case.vectors for case in found[::20]]).astype(np.float32)
    mean, spread = torch.tensor(some.mean(0)), torch.tensor(some.std(0))
    optimizer = torch.optim.AdamW(student.parameters(), RATE, weight_decay=0.02)
    steps = epochs * (len(found) // BATCH + 2) + 2
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.15)
    for epoch in range(epochs):
        student.train()
        for chosen in batches(found, chance):
            numbers, mask, states = batch_of(chosen, unknown)
            forgotten = (torch.rand(numbers.shape) < FORGOTTEN) & (numbers < unknown)
            odds, guess = student(numbers.masked_fill(forgotten, unknown), mask)
            labels = torch.tensor([case.chance for case in chosen], dtype=torch.float32)
            weights = torch.tensor([case.weight for case in chosen], dtype=torch.float32)
            missed = functional.binary_cross_entropy_with_logits(odds, labels, weights)
            apart = ((guess - (states - mean) / spread) ** 2 * mask[:, :, None]).sum()
            loss = missed + apart / (mask.sum() * states.shape[2])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        student.eval()
        write(student, pieces, scores)
        print(f"round {epoch + 1}: {report()}", flush=True)


def report() -> str:
    """Return how many requests of each kind of ``tuning`` the written network classifies correctly."""
    load_network.cache_clear()
    kinds = defaultdict(list)
    for row in read(TUNING):
        kind = f"{'English' if row['language'] == 'en' else 'other'} {row['kind']}"
        kinds[kind].append((odds_by_network(row["prompt"]) > 0) == (row["changes"] == "multiple"))
    return ", ".join(f"{kind} {np.mean(right):.3f}" for kind, right in sorted(kinds.items()))


def write(student: Student, pieces: Sequence[str], scores: Any) -> None:
    """Write the weights as integers."""
    found = {name: values.detach().numpy() for name, values in student.state_dict().items()}
    places = POINT + WEIGHT_POINT

    def whole(values: Any, point: int, form: str) -> bytes:
        content: bytes = np.round(np.asarray(values, np.float64) * (1 << point)).astype(f"<{form}").tobytes()
        return content

    content = np.asarray(scores).astype("<i2").tobytes() + whole(found["places"], places, "i4")
    for name in GAINS:
        layer, _, half = name.rpartition(".")
        gain = f"layers.{layer}.norms.{int(half) - 1}.gain" if layer else "norm.gain"
        content += whole(found[gain], POINT, "i2")
    shapes = {}
    names = [f"{layer}.{part}" for layer in range(LAYERS) for part in ("qkv", "attention", "inner", "outer")]
    for name in (*names, "pooled", "odds"):
        own = f"layers.{name}" if name in names else name
        weight = found[f"{own}.weight"].T
        shapes[name] = list(weight.shape)
        content += whole(weight, WEIGHT_POINT, "i2") + whole(found[f"{own}.bias"], places, "i4")
    rows = student.rows.numpy() @ found["project.weight"].T * (1 << ROW_POINT)
    content += np.clip(np.round(rows), -127, 127).astype(np.int8).tobytes()
    header = json.dumps(shapes, separators=(",", ":")).encode()
    FILE.write_bytes(zlib.compress(b"\n".join((header, " ".join(pieces).encode(), content)), 9))


def main() -> None:
    """Mix requests, train the network and write it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--vectors", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    encoder = load_encoder()
    labelled = labelled_rows()
    mixed = Mixer([row for row in labelled if "language" in row]).mixtures(MIXED)
    used = {number for row in labelled for number in piece_numbers(encoder.pieces, plain(row))[1:-1]}
    chosen = sorted(used & set(encoder.pieces.number.values()))
    known = {number: place for place, number in enumerate(chosen)}
    letters = {number: piece.decode() for piece, number in encoder.pieces.number.items()}
    rows = torch.tensor(np.stack([row_of(encoder, number) for number in (*chosen, 3, 0, 2)]))
    found = cases(labelled, encoder, known, options.vectors, mixed=False)
    found += cases(mixed, encoder, known, options.vectors, mixed=True)
    scores = [round(encoder.pieces.scores[number] * 100) for number in chosen]
    print(f"{len(labelled)} requests, {len(mixed)} mixtures, {len(chosen)} pieces", flush=True)
    student = Student(rows / rows.std(), found[0].vectors.shape[1])
    trained(student, found, [letters[number] for number in chosen], scores, options.epochs)
    print(f"{FILE.name}: {FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
