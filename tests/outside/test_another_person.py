"""Nothing is billed before another person approved it: real processes and keys, the server's count."""

from collections.abc import Callable

import pytest

from ledger.tree.checkpoint import Signer
from tests.outside.conftest import PACKAGED, Outside, Person

Start = Callable[..., Outside]

POLICY = """
[approvers]
maria = ["{maria}"]
omar = ["{omar}"]

[requesters]
ana = ["{ana}"]

[[approvals]]
code = "FINALS"
purposes = ["final"]

[[approvals]]
code = "RULES_AND_MONEY"
operations = ["policy.activate", "budget.set"]
"""
ASK = ("create", "--prompt", "a fox runs", "--no-augment", "--purpose", "final")


@pytest.fixture
def shop(outside: Start, person: Person) -> tuple[Outside, Person]:
    """A server, and somebody at a terminal under a policy that wants another person for finals and rules."""
    server = outside()
    keys = {name: Signer.generate(name) for name in ("ana", "maria", "omar")}
    for name, key in keys.items():
        (person.folder / f"{name}.key").write_text(key.secret())
        (person.folder / f"{name}.key").chmod(0o600)
    (person.folder / "strict.toml").write_text(
        PACKAGED + POLICY.format(**{name: key.verifier for name, key in keys.items()})
    )
    (person.folder / "lax.toml").write_text(PACKAGED.replace('name = "default"', 'name = "lax"', 1))
    assert person("policy", "activate", "strict.toml", "--reason", "second eyes").code == 0
    return server, person.at(server)


def test_one_person_with_a_key_and_a_typed_name_is_billed_nothing(shop: tuple[Outside, Person]) -> None:
    server, someone = shop
    job = someone(*ASK, "--actor", "bob").document["job_id"]
    first = someone("approve", job, "--key", "maria.key", "--submit")
    assert (first.code, first.document["state"], first.document["approvals_needed"]) == (0, "approved", 1)
    again = someone("approve", job, "--key", "maria.key", "--submit")
    assert (again.code, "maria has already approved" in again.err) == (2, True)
    assert (someone("resume", job).code, server.bills()) == (3, [])
    second = someone("approve", job, "--key", "omar.key", "--submit")
    assert (second.code, len(server.bills())) == (0, 1)
    assert someone("verify").code == 0


def test_one_login_with_a_key_is_billed_nothing_and_two_keys_are_billed_once(
    shop: tuple[Outside, Person],
) -> None:
    server, someone = shop
    unsigned = someone(*ASK).document["job_id"]
    refused = someone("approve", unsigned, "--key", "maria.key", "--submit")
    assert (refused.code, "like this answer, so nothing proves that maria is another" in refused.err) == (
        2,
        True,
    )
    assert server.bills() == []
    signed = someone(*ASK, "--key", "ana.key").document["job_id"]
    assert someone("approve", signed, "--key", "ana.key", "--submit").code == 2
    assert server.bills() == []
    assert someone("approve", signed, "--key", "maria.key", "--submit").code == 0
    assert [bill["prompt"] for bill in server.bills()] == ["a fox runs"]
    shown = someone("explain", signed).document
    people = [(each["actor"], each["identified_by"]) for each in shown["authority"]["people"]]
    assert (shown["authority"]["requested_by"]["actor"], people) == ("ana", [("maria", "signature")])
    assert someone("verify").code == 0


def test_no_lax_policy_and_no_lifted_budget_let_one_person_be_billed(shop: tuple[Outside, Person]) -> None:
    server, someone = shop
    lax = someone("policy", "activate", "lax.toml", "--reason", "just this once")
    lifted = someone("budget", "set", "all", "--limit", "none")
    assert (lax.code, lifted.code, "sora-ledger approve change_" in lax.err) == (3, 3, True)
    for change in (lax.document["change"], lifted.document["change"]):
        assert someone("approve", change).code == 2
        assert someone("approve", change, "--key", "maria.key").code == 2
    assert (someone(*ASK).code, server.bills()) == (3, [])
    assert len(someone("changes").document["changes"]) == 2
    proposed = someone("policy", "activate", "lax.toml", "--reason", "agreed", "--key", "ana.key").document
    assert someone("approve", proposed["change"], "--key", "maria.key").document["state"] == "applied"
    assert (someone(*ASK).code, len(server.bills())) == (0, 1)
    assert someone("verify").code == 0
