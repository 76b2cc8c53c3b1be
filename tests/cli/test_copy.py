"""``copy`` as it is typed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from tests.cli.conftest import Sora, Terminal


def test_a_copy_prints_the_root_that_both_have(sora: Sora, denied: str, folder: Path) -> None:
    ended = sora("copy", "ledger.db", "there.db")
    root = sora("verify", "--ledger", "there.db").document["root"]
    document = ended.document
    assert (ended.code, document["root"], document["target"]) == (ExitCode.DONE, root, "there.db")


def test_how_far_it_has_come_goes_to_stderr(sora: Sora, denied: str) -> None:
    assert "records: 0 of " in sora("copy", "ledger.db", "there.db").err


def test_a_target_that_is_another_ledger_ends_with_7(sora: Sora, denied: str) -> None:
    sora("create", "--prompt", "a fox", "--max-cost", "0.01", "--profile", "sandbox", "--ledger", "there.db")
    ended = sora("copy", "ledger.db", "there.db")
    assert (ended.code, "a ledger other than" in ended.error) == (ExitCode.LEDGER_UNUSABLE, True)


def test_a_person_reads_what_to_do_next(
    sora: Sora, denied: str, terminal: Callable[..., tuple[Terminal, Terminal]]
) -> None:
    stdout, _ = terminal()
    sora("copy", "ledger.db", "there.db")
    assert "next: set SORA_LEDGER_URL to the URL of there.db" in stdout.getvalue()


def test_the_password_of_a_target_is_not_shown(
    sora: Sora, denied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_LEDGER_FAILOVER_SECONDS", "0")
    ended = sora("copy", "ledger.db", "postgresql://ana:geheim@127.0.0.1:1/renders")
    assert (ended.code, "geheim" in ended.out + ended.err) == (ExitCode.LEDGER_UNUSABLE, False)
    assert "postgresql://ana@127.0.0.1:1/renders: the server cannot be reached" in ended.error
