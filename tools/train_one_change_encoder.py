"""Train the encoder of the one-change rule: it writes ``decision/one_change/encoder.model``.

Run from the root of the repository, with the extra ``one-change``, torch, and what `tools.train_one_change`
needs: ``python -m tools.train_one_change_encoder [--seeds 0,1] [--epochs 4] [--rounds 2]``. Training has
three parts. First, each seed trains one network on the vectors of the package's encoder for all requests in
``tools/one_change`` after six layers. Then the networks and the upper three of the six layers are trained
together. Finally, the next three layers are trained with separate networks, which start as copies of the
first ones; earlier results are frozen. For each layer, only products of two narrow matrices are learned,
which are added to its weights: the file stays small.

With ``--start FILE``, the first two parts are read from an earlier output file. The vectors are computed
once; with ``--vectors FOLDER``, they are cached there. After each round it prints how many requests of the
set ``tuning`` are classified correctly, by kind. The other measured sets are not used, and neither are the
writer ``m`` and half of the requests of ``n``: `decision.one_change.encoder` fits its sum to these.
"""

import argparse
import copy
import hashlib
import json
import math
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from decision.one_change.encoder import ATTENTIONS as HEADS_OF_LAYER
from decision.one_change.encoder import (
    HEADS,
    Encoder,
    compute_hidden_states,
    load_encoder,
    piece_numbers,
    read_trained,
)
from decision.one_change.encoder import WIDTH as WIDTH_OF_LAYER
from tools.train_one_change import ENGLISH, ROOT, WRITERS, plain, read

ADDED = [ROOT / "tools" / "one_change" / f"encoder-writer-{name}.jsonl" for name in "hgijk"]
"""Requests that only the encoder learns from."""
ADDED_LATER = [ROOT / "tools" / "one_change" / f"encoder-writer-{name}.jsonl" for name in "ln"]
"""Requests that only the last three layers learn from; of the second file, half."""
PAIRED = [f"encoder-writer-{name}" for name in "ijklmn"]
"""Files that are mostly pairs of nearly identical requests: all of them are read in each round."""
TUNING = ROOT / "tests" / "decision" / "data" / "remix-prompts-tuning.jsonl"
WIDTH, ATTENTIONS, BATCH, RATE, DROPPED = 96, 4, 64, 2e-3, 0.2
LOWER, UPPER = range(3, 6), range(6, 9)
"""The layers that are tuned in the second and third parts."""
NARROW = {LOWER: 16, UPPER: 8}
"""The width of the two matrices."""
TUNING_BATCH, TUNING_RATE = 32, 1e-3
ROUNDS_OF_UPPER = ((2.5, TUNING_RATE), (1.0, 6e-4))
"""The number of rounds in the third part, and their initial learning rate."""
SHARES = {
    "English hard": 0.6,
    "English plain": 0.25,
    "Asian hard": 0.2,
    "Asian plain": 0.08,
    "other hard": 0.2,
    "other plain": 0.08,
}
"""The share of the other requests that is read in each round of the second part, by kind."""
SHARES_OF_UPPER = {
    "English hard": 0.44,
    "English plain": 0.09,
    "Asian hard": 0.42,
    "Asian plain": 0.03,
    "other hard": 0.09,
    "other plain": 0.03,
}
APART, MARKED = 0.3, 0.2
"""Loss weights of the odds within a pair, and of finding marked changes."""
NAMES = {
    "inp": "in",
    "ln": "in.norm",
    "enc.0.self_attn.in_proj": "qkv",
    "enc.0.self_attn.out_proj": "attention",
    "enc.0.norm1": "attention.norm",
    "enc.0.norm2": "inner.norm",
    "enc.0.linear1": "inner",
    "enc.0.linear2": "outer",
    "out": "pooled",
    "fin": "odds",
}
"""The layers of the network, under their names in `decision.one_change.encoder`."""


class Case(NamedTuple):
    """The vectors of a request, whether it asks for several changes, its kind, and its pair or file.

    Its marks say for each vector whether a marked change begins there (1), continues (2), or is absent (0).
    """

    states: Any
    several: bool
    kind: str
    pair: str = ""
    marks: Sequence[int] = ()


class Head(nn.Module):
    """One layer of attention over the vectors; their maximum and mean give the odds."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.ln = nn.Linear(384, WIDTH), nn.LayerNorm(WIDTH)
        layer = nn.TransformerEncoderLayer(
            WIDTH, ATTENTIONS, 2 * WIDTH, DROPPED, "gelu", batch_first=True, norm_first=True
        )
        self.enc = nn.ModuleList([layer])
        self.out, self.fin, self.drop = nn.Linear(2 * WIDTH, 64), nn.Linear(64, 1), nn.Dropout(DROPPED)

    def forward(self, states: Any, mask: Any) -> Any:
        """Return the odds of each request of a batch; `mask` marks the existing vectors."""
        read = self.ln(self.inp(self.drop(states)))
        for layer in self.enc:
            read = layer(read, src_key_padding_mask=~mask)
        largest = read.masked_fill(~mask[:, :, None], -1e4).max(1)[0]
        mean = (read * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        return self.fin(functional.gelu(self.out(self.drop(torch.cat([largest, mean], 1)))))[:, 0]


class Added(nn.Module):
    """Frozen weights of the package, and two narrow matrices whose product is added to them."""

    def __init__(self, weights: Mapping[str, Any], name: str, narrow: int) -> None:
        super().__init__()
        bias = torch.tensor(weights[f"{name}.b"])
        self.register_buffer("bias", bias)
        self.register_buffer("weight", torch.tensor(weights[f"{name}.w"]).view(len(bias), -1))
        width = self.weight.shape[1]
        self.inner = nn.Parameter(torch.randn(narrow, width) / math.sqrt(width))
        self.outer = nn.Parameter(torch.zeros(len(bias), narrow))

    def forward(self, states: Any) -> Any:
        """Return the sums of the layer."""
        changed = functional.linear(functional.linear(states, self.inner), self.outer)
        return functional.linear(states, self.weight, self.bias) + changed


class TunedLayer(nn.Module):
    """A layer of the encoder, as `decision.one_change.encoder` computes it."""

    def __init__(self, weights: Mapping[str, Any], number: int, narrow: int) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({n: Added(weights, f"l{number}.{n}", narrow) for n in PARTS})
        for name in ("aln", "oln"):
            self.register_buffer(f"{name}_weight", torch.tensor(weights[f"l{number}.{name}.w"]))
            self.register_buffer(f"{name}_bias", torch.tensor(weights[f"l{number}.{name}.b"]))

    def forward(self, states: Any, mask: Any) -> Any:
        """Return the vectors after this layer."""
        count, longest, width = states.shape
        shape = (count, longest, HEADS_OF_LAYER, width // HEADS_OF_LAYER)
        read = [self.parts[name](states).view(shape).transpose(1, 2) for name in "qkv"]
        found = functional.scaled_dot_product_attention(*read, attn_mask=mask[:, None, None])
        attended = self.parts["ao"](found.transpose(1, 2).reshape(states.shape))
        states = self._normed(states + attended, "aln")
        inner = self.parts["fo"](functional.gelu(self.parts["fi"](states)))
        return self._normed(states + inner, "oln")

    def _normed(self, states: Any, name: str) -> Any:
        weight, bias = getattr(self, f"{name}_weight"), getattr(self, f"{name}_bias")
        return functional.layer_norm(states, (WIDTH_OF_LAYER,), weight, bias, 1e-12)


PARTS = ("q", "k", "v", "ao", "fi", "fo")
"""The tuned weights of a layer, under the package's names."""


class Tuned(nn.Module):
    """Tuned layers of the encoder, and the networks that read their output."""

    def __init__(self, weights: Mapping[str, Any], heads: Sequence[Head], numbers: range) -> None:
        super().__init__()
        self.numbers = numbers
        self.layers = nn.ModuleList(TunedLayer(weights, number, NARROW[numbers]) for number in numbers)
        self.heads = nn.ModuleList(heads)
        self.finder = nn.Linear(WIDTH_OF_LAYER, 3)
        """Finds marked changes; only needed during training."""

    def forward(self, states: Any, mask: Any) -> Any:
        """Return the odds of each request of a batch, by each network."""
        return self.odds(self.read(states, mask), mask)

    def read(self, states: Any, mask: Any) -> Any:
        """Return the vectors after these layers."""
        for layer in self.layers:
            states = layer(states, mask)
        return states

    def odds(self, states: Any, mask: Any) -> Any:
        """Return the odds of each request of a batch from the vectors after these layers."""
        return torch.stack([head(states, mask) for head in self.heads])


def labelled_rows(files: Sequence[Path] = ()) -> list[dict[str, Any]]:
    """Return all requests to learn from, each with its file; including those in `files`."""
    paths = (*WRITERS, *ADDED, *files, *ENGLISH)
    return [
        row | {"file": path.stem} for path in paths for row in read(path) if not is_for_the_sum(path, row)
    ]


def is_for_the_sum(path: Path, row: Mapping[str, Any]) -> bool:
    """Return whether a request is in the half of a file that the sum is fitted to."""
    number = row.get("pair") or zlib.crc32(row["prompt"].encode())
    return path.stem == "encoder-writer-n" and number % 2 == 0


def kind_of(row: Mapping[str, Any]) -> str:
    """Return the kind of a request, as named in `SHARES`."""
    languages = {"en": "English", "ja": "Asian", "zh": "Asian"}
    return f"{languages.get(row.get('language', 'en'), 'other')} {row.get('kind', 'plain')}"


def vectors(rows: Sequence[dict[str, Any]], encoder: Encoder, folder: Path | None, layers: int) -> list[Any]:
    """Return the encoder's vectors for the pieces of each request, after `layers`, cached in `folder`."""
    texts = [f"query: {plain(row)}" for row in rows]
    weights = b"".join(encoder.weights[f"l{layer}.q.w"].tobytes() for layer in range(layers))
    name = hashlib.sha256("\n".join(texts).encode() + weights).hexdigest()[:16]
    path = folder / f"{name}-{layers}.npz" if folder else None
    if path and path.exists():
        kept = np.load(path)
        return np.split(kept["found"], kept["ends"])
    numbers = (piece_numbers(encoder.pieces, text) for text in texts)
    found = [compute_hidden_states(encoder, own, layers).astype(np.float16) for own in numbers]
    if path:
        ends = np.cumsum([len(own) for own in found])[:-1]
        np.savez(path, found=np.concatenate(found), ends=ends)
    return found


def cases(rows: Sequence[dict[str, Any]], encoder: Encoder, folder: Path | None, layers: int) -> list[Case]:
    """Return the vectors of labelled requests."""
    return [
        Case(
            own,
            row["changes"] == "multiple",
            kind_of(row),
            f"{row['file']} {row.get('pair') or f'alone {number}'}" if row.get("file") in PAIRED else "",
        )
        for number, (row, own) in enumerate(zip(rows, vectors(rows, encoder, folder, layers), strict=True))
    ]


def vectors_after(found: Iterable[Case], network: Tuned) -> Iterator[Case]:
    """Yield requests with their vectors after the layers of `network`."""
    network.eval()
    for case in found:
        states, mask, _ = batch_of([case])
        with torch.no_grad():
            read_so = network.read(states, mask)[0].numpy().astype(np.float16)
        yield case._replace(states=read_so)


def with_marks(rows: Sequence[dict[str, Any]], found: Iterable[Case], encoder: Encoder) -> Iterator[Case]:
    """Yield requests with the marks in their texts, if there are any."""
    lengths = {
        number: len(piece.decode("utf-8", "ignore")) for piece, number in encoder.pieces.number.items()
    }
    for row, case in zip(rows, found, strict=True):
        marks = _marks(row["prompt"], encoder, lengths) if "⟦" in row["prompt"] else []
        yield case._replace(marks=marks if len(marks) == len(case.states) else ())


def _marks(prompt: str, encoder: Encoder, lengths: Mapping[int, int]) -> list[int]:
    """Return the mark of each vector of a marked request."""
    letters: list[tuple[str, int]] = [(" ", 0)]
    state = 0
    for letter in f"query: {prompt}":
        if letter in "⟦⟧":
            state = int(letter == "⟦")
            continue
        for read_as in encoder.pieces.letters.get(letter, letter):
            if (read_as, letters[-1][0]) == (" ", " "):
                letters[-1] = (" ", max(letters[-1][1], state))
            else:
                letters.append((read_as, state))
            state = 2 * bool(state)
    marks, at = [0], 0
    for number in piece_numbers(encoder.pieces, f"query: {plain({'prompt': prompt})}")[1:-1]:
        own = [mark for _, mark in letters[at : at + lengths.get(number, 1)]]
        at += len(own)
        marks.append(1 if 1 in own else 2 if 2 * own.count(2) >= len(own) > 0 else 0)
    return [*marks, 0]


def batch_of(chosen: Sequence[Case]) -> tuple[Any, Any, Any]:
    """Return the vectors, the mask and the labels of some requests."""
    longest = max(len(case.states) for case in chosen)
    states = np.zeros((len(chosen), longest, 384), np.float32)
    mask = np.zeros((len(chosen), longest), bool)
    for number, case in enumerate(chosen):
        states[number, : len(case.states)] = case.states
        mask[number, : len(case.states)] = True
    labels = torch.tensor([float(case.several) for case in chosen])
    return torch.tensor(states), torch.tensor(mask), labels


def batches(found: Sequence[Case], chance: np.random.Generator) -> Iterator[Sequence[Case]]:
    """Yield batches of requests of similar length, in a new order every time."""
    ordered = sorted(found, key=lambda case: len(case.states) + chance.random() * 6)
    parts = [ordered[start : start + BATCH] for start in range(0, len(ordered), BATCH)]
    yield from (parts[number] for number in chance.permutation(len(parts)))


def paired_batches(
    found: Sequence[Case], chance: np.random.Generator, shares: Mapping[str, float]
) -> list[list[Case]]:
    """Return the batches of a round in which the layers are tuned: the requests of a pair stay together."""
    pairs: dict[str, list[Case]] = defaultdict(list)
    chosen: list[list[Case]] = []
    for case in found:
        if case.pair:
            pairs[case.pair].append(case)
        elif chance.random() < shares.get(case.kind, 1):
            chosen.append([case])
    chosen += pairs.values()
    chosen.sort(key=lambda own: max(len(case.states) for case in own) + chance.random() * 6)
    parts: list[list[Case]] = [[]]
    for own in chosen:
        if len(parts[-1]) >= TUNING_BATCH:
            parts.append([])
        parts[-1] += own
    return [parts[number] for number in chance.permutation(len(parts))]


def report(network: nn.Module, tuning: Sequence[Case]) -> str:
    """Return how many requests of each kind are classified correctly."""
    network.eval()
    with torch.no_grad():
        odds = [float(network(*batch_of([case])[:2]).mean()) for case in tuning]
    right = [(case.kind, (one > 0) == case.several) for case, one in zip(tuning, odds, strict=True)]
    kinds = sorted({kind for kind, _ in right})
    return ", ".join(f"{kind} {np.mean([ok for other, ok in right if other == kind]):.3f}" for kind in kinds)


def trained(seed: int, found: Sequence[Case], tuning: Sequence[Case], epochs: int) -> Head:
    """Return a network trained on `found`."""
    torch.manual_seed(seed)
    chance, head = np.random.default_rng(seed), Head()
    optimizer = torch.optim.AdamW(head.parameters(), RATE, weight_decay=0.02)
    steps = epochs * (len(found) // BATCH + 2) + 2
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for epoch in range(epochs):
        head.train()
        for chosen in batches(found, chance):
            states, mask, labels = batch_of(chosen)
            # a few labels are wrong: none is trusted completely
            loss = functional.binary_cross_entropy_with_logits(head(states, mask), labels * 0.96 + 0.02)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"seed {seed}, round {epoch + 1}: {report(head, tuning)}", flush=True)
    return head


def tune(
    network: Tuned,
    found: Sequence[Case],
    tuning: Sequence[Case],
    rounds: float,
    shares: Mapping[str, float],
    rate: float = TUNING_RATE,
) -> None:
    """Train the layers and the networks together, each round with such `shares` of the older requests."""
    torch.manual_seed(0)
    chance = np.random.default_rng(0)
    learned = [own for own in network.parameters() if own.requires_grad]
    optimizer = torch.optim.AdamW(learned, rate, weight_decay=0.01)
    steps = round(rounds * len(paired_batches(found, np.random.default_rng(0), shares)))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, step / (0.06 * steps)) * max(0.02, 1 - step / steps)
    )
    done = 0
    while done < steps:
        network.train()
        for chosen in paired_batches(found, chance, shares)[: steps - done]:
            loss = loss_of(network, chosen)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(learned, 1.0)
            optimizer.step()
            schedule.step()
            done += 1
        print(f"layers {list(network.numbers)}, step {done}: {report(network, tuning)}", flush=True)


def loss_of(network: Tuned, chosen: Sequence[Case]) -> Any:
    """Return the loss of a batch: from the odds, within pairs, and from missed marked changes."""
    states, mask, labels = batch_of(chosen)
    read_so = network.read(states, mask)
    odds = network.odds(read_so, mask)
    wanted = (labels * 0.96 + 0.02).expand_as(odds)
    loss = functional.binary_cross_entropy_with_logits(odds, wanted) + apart(chosen, odds)
    marked = [number for number, case in enumerate(chosen) if case.marks]
    if marked:
        of_marks = torch.full(mask.shape, -100)
        for number in marked:
            of_marks[number, : len(chosen[number].marks)] = torch.tensor(chosen[number].marks)
        found = network.finder(read_so).transpose(1, 2)
        loss = loss + MARKED * min(1.0, len(marked) / 8) * functional.cross_entropy(found, of_marks)
    return loss


def apart(chosen: Sequence[Case], odds: Any) -> Any:
    """Return the loss of pairs whose odds of one change and of several are too close."""
    sides: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for number, case in enumerate(chosen):
        if case.pair:
            sides[case.pair][case.several].append(number)
    both = [(one, several) for ones, more in sides.values() for one in ones for several in more]
    if not both:
        return 0.0
    ones, more = (list(side) for side in zip(*both, strict=True))
    lost = functional.softplus(odds[:, ones] - odds[:, more]).mean()
    return APART * min(1.0, len(both) / 8) * lost


def started_from(path: Path, weights: Mapping[str, Any]) -> Tuned:
    """Return the networks and layers of the second part from an earlier output file."""
    before = read_trained(path)
    heads = [own for layers, own in before.heads if layers == LOWER.stop]
    network = Tuned(weights, [Head() for _ in heads], LOWER)
    for head, own in zip(network.heads, heads, strict=True):
        head.load_state_dict({name: torch.tensor(own[_named(name)]) for name in head.state_dict()})
    for name, (outer, inner) in before.added.items():
        layer, part, _ = name.removeprefix("l").split(".")
        if int(layer) in LOWER:
            added = network.layers[int(layer) - LOWER.start].parts[part]
            added.outer.data, added.inner.data = torch.tensor(outer), torch.tensor(inner)
    return network


def _named(name: str) -> str:
    """Return the names of a network's weights in `decision.one_change.encoder`."""
    layer, _, kind = name.replace("proj_", "proj.").rpartition(".")
    return f"{NAMES[layer]}.{kind[0]}"


def write(*networks: Tuned) -> None:
    """Write the weights: a line of JSON with their shapes, and half-precision numbers."""
    added, content = {}, b""

    def shape_of(values: Any) -> list[int]:
        nonlocal content
        content += values.detach().numpy().astype(np.float16).tobytes()
        return list(values.shape)

    heads = [
        (network.numbers.stop, {_named(name): shape_of(values) for name, values in head.state_dict().items()})
        for network in networks
        for head in network.heads
    ]
    for network in networks:
        for number, layer in zip(network.numbers, network.layers, strict=True):
            for name, part in layer.parts.items():
                added[f"l{number}.{name}.w"] = [shape_of(part.outer), shape_of(part.inner)]
    header = json.dumps({"heads": heads, "added": added}, separators=(",", ":")).encode()
    HEADS.write_bytes(zlib.compress(header + b"\n" + content, 9))


def lower_part(options: argparse.Namespace, encoder: Encoder, tuning: Sequence[dict[str, Any]]) -> Tuned:
    """Return the trained networks and layers of the first two parts."""
    rows = labelled_rows()
    found, own = (cases(some, encoder, options.vectors, LOWER.stop) for some in (rows, tuning))
    heads = [trained(int(seed), found, own, options.epochs) for seed in options.seeds.split(",")]
    network = Tuned(encoder.weights, heads, LOWER)
    found, own = (cases(some, encoder, options.vectors, LOWER.start) for some in (rows, tuning))
    tune(network, found, own, options.rounds, SHARES)
    return network


def main() -> None:
    """Train the three parts, and write the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=float, default=2)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--vectors", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    encoder, rows, tuning = load_encoder(tuned=False), labelled_rows(ADDED_LATER), read(TUNING)
    if options.start:
        lower = started_from(options.start, encoder.weights)
    else:
        lower = lower_part(options, encoder, tuning)
    found, own = (
        list(vectors_after(cases(some, encoder, options.vectors, LOWER.start), lower))
        for some in (rows, tuning)
    )
    upper = Tuned(encoder.weights, copy.deepcopy(list(lower.heads)), UPPER)
    marked = list(with_marks(rows, found, encoder))
    for rounds, rate in ROUNDS_OF_UPPER:
        tune(upper, marked, own, rounds, SHARES_OF_UPPER, rate)
    write(lower, upper)
    print(f"{HEADS.name}: {len(found)} requests, {HEADS.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
