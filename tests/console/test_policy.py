"""The page Policy: what is in force, what each activation changed, and what another policy would change."""

import sqlite3
from importlib.resources import files

from tests.console.conftest import Console, Studio

PACKAGED = files("decision").joinpath("policy.toml").read_text()
TEAM = PACKAGED.replace('name = "default"', 'name = "team"')
STRICT = TEAM.replace("require_attestation = false", "require_attestation = true").replace(
    '"team"', '"strict"'
)


def activate(studio: Studio, name: str, text: str, why: str) -> None:
    (studio.folder / f"{name}.toml").write_text(text)
    studio("policy", "activate", f"{name}.toml", "--reason", why, "--actor=maria")


def test_the_policy_of_the_package_is_in_force_until_another_is_activated(shared: Console) -> None:
    with shared.reader("ana") as ana:
        view = ana.get("/policy.json").json()
        assert (view["in_force"]["policy"], view["in_force"]["position"]) == ("default", None)
        assert {"topic": "purposes that need an approved draft", "text": "none", "details": []} in view[
            "statements"
        ]
        assert (view["history"], view["may_compare"]) == ([], False)
        assert "The packaged policy" in ana.get("/policy").text


def test_each_activation_is_shown_with_who_why_and_what_it_changed(console: Console) -> None:
    activate(console.studio, "team", TEAM, "our own <b>name</b>")
    activate(console.studio, "strict", STRICT, "we attest now")
    with console.reader("aud") as aud:
        newest, oldest = aud.get("/policy.json").json()["history"]
        assert (newest["policy"], newest["actor"], newest["reason"]) == ("strict", "maria", "we attest now")
        changed = {"setting": "require_attestation", "before": "false", "after": "true"}
        assert newest["changes"] == [{"setting": "name", "before": "team", "after": "strict"}, changed]
        assert oldest["changes"] == [{"setting": "name", "before": "default", "after": "team"}]
        html = aud.get("/policy").text
        assert "our own &lt;b&gt;name&lt;/b&gt;" in html
        assert f'href="/console/log/{newest["position"]}"' in html
        table = aud.get("/policy.csv").text.splitlines()
        assert (len(table), table[0].split(",")[-3:]) == (4, ["setting", "before", "after"])


def test_what_another_policy_would_change_is_shown_and_not_recorded(console: Console) -> None:
    with console.client("aud") as aud, console.reader("aud") as reader:
        before = count(console)
        form = {"csrf": aud.csrf("/policy"), "period": "7"}
        file = {"file": ("strict.toml", STRICT.encode())}
        shown = aud.post("/policy/what-if", data=form, files=file)
        assert shown.status_code == 200
        assert "5 of 6" in shown.text  # one is denied either way
        assert "ALLOW to DENY: 5" in shown.text
        wrong = aud.post("/policy/what-if", data=form, files={"file": ("a.toml", b"weights = 3")})
        assert (wrong.status_code, "Policy file a.toml" in wrong.text) == (400, True)
        empty = aud.post("/policy/what-if", data=form)
        assert (empty.status_code, "choose a policy file" in empty.text.lower()) == (400, True)
        assert (count(console), reader.get("/policy.json").json()["what_if"]) == (before, None)


def test_only_those_who_see_all_videos_can_compare(shared: Console) -> None:
    with shared.client("ana") as ana:
        form = {"csrf": ana.csrf("/policy"), "period": "7"}
        refused = ana.post("/policy/what-if", data=form, files={"file": ("a.toml", STRICT.encode())})
        assert (refused.status_code, "What if" in refused.text) == (403, False)


def count(console: Console) -> int:
    with sqlite3.connect(console.studio.folder / "ledger.db") as db:
        return int(db.execute("SELECT count(*) FROM events").fetchone()[0])
