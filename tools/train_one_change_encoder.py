"""Train the networks of the encoder of the one-change rule: they write ``decision/one_change/encoder.model``.

Run from the root of the repository, with the extra ``one-change``, torch, and what `tools.train_one_change`
needs: ``python -m tools.train_one_change_encoder [--seeds 0,1] [--epochs 4] [--vectors FOLDER]``. The encoder
itself is not trained: its vectors of all requests in ``tools/one_change`` are computed once (with
``--vectors``, they are kept there), then each seed trains one network on them. After each round it prints how
many requests of the set ``tuning`` are classified correctly, by kind. The other measured sets take no part.
On one machine, the same requests and seeds give the same bytes.
"""

import argparse
import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from decision.one_change.encoder import HEADS, Encoder, hidden_states, load_encoder, piece_numbers
from tools.train_one_change import ENGLISH, ROOT, WRITERS, plain, read

ADDED = [ROOT / "tools" / "one_change" / f"encoder-writer-{name}.jsonl" for name in "hg"]
"""Requests that only the networks learn from."""
TUNING = ROOT / "tests" / "decision" / "data" / "remix-prompts-tuning.jsonl"
WIDTH, ATTENTIONS, BATCH, RATE, DROPPED = 96, 4, 64, 2e-3, 0.2
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
"""The layers of the network, as `decision.one_change.encoder` names them."""


class Case(NamedTuple):
    """The vectors of a request, whether it asks for several changes, and its kind."""

    states: Any
    several: bool
    kind: str


class Head(nn.Module):
    """One layer of attention over the vectors; their largest and their mean values give the odds."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.ln = nn.Linear(384, WIDTH), nn.LayerNorm(WIDTH)
        layer = nn.TransformerEncoderLayer(
            WIDTH, ATTENTIONS, 2 * WIDTH, DROPPED, "gelu", batch_first=True, norm_first=True
        )
        self.enc = nn.ModuleList([layer])
        self.out, self.fin, self.drop = nn.Linear(2 * WIDTH, 64), nn.Linear(64, 1), nn.Dropout(DROPPED)

    def forward(self, states: Any, mask: Any) -> Any:
        """Return the odds of each request of a batch; `mask` says which vectors there are."""
        read = self.ln(self.inp(self.drop(states)))
        for layer in self.enc:
            read = layer(read, src_key_padding_mask=~mask)
        largest = read.masked_fill(~mask[:, :, None], -1e4).max(1)[0]
        mean = (read * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        return self.fin(functional.gelu(self.out(self.drop(torch.cat([largest, mean], 1)))))[:, 0]


def labelled_rows() -> list[dict[str, str]]:
    """Return all requests to learn from."""
    return [row for path in (*WRITERS, *ADDED, *ENGLISH) for row in read(path)]


def vectors(
    rows: Sequence[dict[str, str]], encoder: Encoder, folder: Path | None
) -> Iterator[tuple[list[int], Any]]:
    """Yield the encoder's pieces of each request, and its vectors for them; they are kept in `folder`."""
    texts = [f"query: {plain(row)}" for row in rows]
    numbers = [piece_numbers(encoder.pieces, text) for text in texts]
    name = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
    path = folder / f"{name}.npy" if folder else None
    if path is None or not path.exists():
        found = np.concatenate([hidden_states(encoder, own).astype(np.float16) for own in numbers])
        if path:
            np.save(path, found)
    else:
        found = np.load(path)
    ends = np.cumsum([len(own) for own in numbers])
    yield from zip(numbers, np.split(found, ends[:-1]), strict=True)


def cases(rows: Sequence[dict[str, str]], folder: Path | None) -> list[Case]:
    """Return the vectors of labelled requests."""
    return [
        Case(
            own,
            row["changes"] == "multiple",
            f"{'English' if row.get('language', 'en') == 'en' else 'other'} {row.get('kind', 'plain')}",
        )
        for row, (_, own) in zip(rows, vectors(rows, load_encoder(), folder), strict=True)
    ]


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
    """Yield batches of requests of like length, in another order every time."""
    ordered = sorted(found, key=lambda case: len(case.states) + chance.random() * 6)
    parts = [ordered[start : start + BATCH] for start in range(0, len(ordered), BATCH)]
    yield from (parts[number] for number in chance.permutation(len(parts)))


def report(head: Head, tuning: Sequence[Case]) -> str:
    """Return how many requests of each kind are classified correctly."""
    head.eval()
    with torch.no_grad():
        odds = [float(head(*batch_of([case])[:2])[0]) for case in tuning]
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
            # a few labels are wrong: none is believed to the end
            loss = functional.binary_cross_entropy_with_logits(head(states, mask), labels * 0.96 + 0.02)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"seed {seed}, round {epoch + 1}: {report(head, tuning)}", flush=True)
    return head


def write(heads: Sequence[Head]) -> None:
    """Write the weights of the networks: a line of JSON with their shapes, and half-precision numbers."""
    shapes, content = [], b""
    for head in heads:
        own = {}
        for name, values in head.state_dict().items():
            layer, _, kind = name.replace("proj_", "proj.").rpartition(".")
            own[f"{NAMES[layer]}.{kind[0]}"] = list(values.shape)
            content += values.numpy().astype(np.float16).tobytes()
        shapes.append(own)
    header = json.dumps({"heads": shapes}, separators=(",", ":")).encode()
    HEADS.write_bytes(zlib.compress(header + b"\n" + content, 9))


def main() -> None:
    """Train a network for each seed and write them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--vectors", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    found, tuning = cases(labelled_rows(), asked.vectors), cases(read(TUNING), asked.vectors)
    write([trained(int(seed), found, tuning, asked.epochs) for seed in asked.seeds.split(",")])
    print(f"{HEADS.name}: {len(found)} requests, {HEADS.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
