"""Train the classifier of the one-change rule from the labelled requests in ``tools/one_change``.

Run from the root of the repository, with scikit-learn and python-crfsuite installed: ``python -m
tools.train_one_change``, with ``--compare`` to print first how often each writer's requests are classified
correctly by a model trained on the others. It writes ``decision/one_change/one_change.model``. The measured
sets in ``tests/decision/data`` are not used.

In the files of three writers, the words of each change are between ``⟦`` and ``⟧``, for the tagger.
"""

import json
import math
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pycrfsuite
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from decision.one_change.features import BITS, FILE, TAG_BITS, TAGS, blocks, token_features, tokens

ROOT = Path(__file__).parent.parent
WRITERS = sorted((ROOT / "tools" / "one_change").glob("writer-*.jsonl"))
ENGLISH = [
    ROOT / "tools" / "one_change" / "english.jsonl",
    *(ROOT / "tests" / "decision" / "data" / f"remix-prompts{name}.jsonl" for name in ("", "-dev")),
]
LEVELS = (8, 25, 60)
"""Minimum number of requests that contain a word, by level."""
STRENGTH = 3.0
LARGEST = 127

Row = dict[str, str]


def read(path: Path) -> list[Row]:
    """Return the requests of a file that are labelled as one change or several."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["changes"] in {"single", "multiple"}]


def plain(row: Row) -> str:
    """Return the text of a request without marks."""
    return row["prompt"].replace("⟦", "").replace("⟧", "")


def levels_of(rows: Iterable[Row]) -> dict[str, int]:
    """Return the frequency levels of the words of `rows`."""
    counts = Counter(word for row in rows for word in {match[0].lower() for match in tokens(plain(row))})
    ranked = {word: sum(count >= least for least in LEVELS) for word, count in counts.items()}
    return {word: level for word, level in sorted(ranked.items()) if level}


def matrix(rows: Sequence[Row], levels: dict[str, int]) -> Any:
    """Return the features of `rows`: each view has unit length."""
    columns, values, ends = [], [], [0]
    for row in rows:
        for view in blocks(plain(row), levels):
            columns += view
            values += [1 / math.sqrt(len(view) + 1)] * len(view)
        ends.append(len(columns))
    return csr_matrix((values, columns, ends), shape=(len(rows), 1 << BITS))


def labels(rows: Iterable[Row]) -> Any:
    """Return whether each of `rows` asks for several changes."""
    return np.array([row["changes"] == "multiple" for row in rows])


def fit(rows: Sequence[Row], levels: dict[str, int]) -> Any:
    """Return a model trained on `rows`."""
    model = LogisticRegression(C=STRENGTH, solver="liblinear", max_iter=2000, random_state=0)
    return model.fit(matrix(rows, levels), labels(rows))


def compare(sets: dict[str, list[Row]]) -> None:
    """Print how often each set is classified correctly by a model trained on the others."""
    for name, held in sets.items():
        rest = [row for other, rows in sets.items() if other != name for row in rows]
        levels = levels_of(rest)
        scores = fit(rest, levels).decision_function(matrix(held, levels))
        print(name, len(held), f"right {np.mean((scores > 0) == labels(held)):.3f}", flush=True)


def tagged(row: Row) -> tuple[list[list[str]], list[str]]:
    """Return the features and the tags of the words of a marked request."""
    tags, words, tag = [], [], "O"
    for match in tokens(row["prompt"]):
        if match[0] in "⟦⟧":
            tag = "B" if match[0] == "⟦" else "O"
            continue
        words.append(match[0])
        tags.append(tag)
        tag = "I" if tag == "B" else tag
    return [[str(feature) for feature in features] for features in token_features(words)], tags


def fit_tagger(rows: Iterable[Row]) -> tuple[Any, list[list[int]]]:
    """Return the weights of the tagger by feature and tag, and of the transitions, as integers."""
    trainer = pycrfsuite.Trainer(verbose=False)
    trainer.set_params({"c1": 0.5, "c2": 0.05, "max_iterations": 60, "feature.possible_transitions": True})
    for row in rows:
        trainer.append(*tagged(row))
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "tagger")
        trainer.train(path)
        tagger = pycrfsuite.Tagger()
        tagger.open(path)
        info = tagger.info()
    largest = max(abs(weight) for weight in info.state_features.values())
    weights = np.zeros((1 << TAG_BITS, len(TAGS)), dtype=np.int8)
    for (feature, tag), weight in info.state_features.items():
        weights[int(feature), TAGS.index(tag)] = round(weight / largest * LARGEST)
    pairs = [
        [round(info.transitions.get((before, tag), 0) / largest * LARGEST) for tag in TAGS] for before in TAGS
    ]
    return weights, pairs


def main() -> None:
    """Train on all writers and write the model."""
    sets = {path.stem: read(path) for path in WRITERS} | {
        "english": [row for p in ENGLISH for row in read(p)]
    }
    if "--compare" in sys.argv:
        compare(sets)
    rows = [row for own in sets.values() for row in own]
    levels = levels_of(rows)
    model = fit(rows, levels)
    scale = float(np.abs(model.coef_[0]).max()) / LARGEST
    weights = np.round(model.coef_[0] / scale).astype(np.int8)
    tags, transitions = fit_tagger(row for row in rows if "⟦" in row["prompt"])
    header = {
        "levels": levels,
        "scale": scale,
        "intercept": float(model.intercept_[0]),
        "weights": len(weights),
        "transitions": transitions,
    }
    head = json.dumps(header, ensure_ascii=False, sort_keys=True).encode()
    FILE.write_bytes(zlib.compress(head + b"\n" + weights.tobytes() + tags.tobytes(), 9))
    print(f"{FILE.name}: {len(rows)} requests, {FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
