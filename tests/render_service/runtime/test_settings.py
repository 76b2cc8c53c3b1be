"""Flags win over the environment, the environment over ``.env``."""

import os
import pwd
import re
from pathlib import Path

import pytest

from ledger.record import ActorSource
from render_service.runtime.errors import BadInput
from render_service.runtime.settings import Settings, read_settings
from render_service.runtime.settings_file import IN_A_FILE, IN_THE_SHELL


def settings(folder: Path, **environment: str) -> Settings:
    return read_settings(environment=environment, folder=folder)


def test_a_flag_wins_over_the_environment(tmp_path: Path) -> None:
    environment = {"SORA_LEDGER_URL": "env.db", "SORA_LEDGER_PROFILE": "custom", "SORA_LEDGER_ACTOR": "eve"}
    values = {"ledger": "flag.db", "profile": "sandbox", "actor": "ana"}
    found = read_settings(**values, environment=environment, folder=tmp_path)
    assert (found.ledger_url, found.profile_name, found.actor) == ("flag.db", "sandbox", "ana")


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPENAI_API_KEY=file\nSORA_LEDGER_ACTOR=file\n")
    found = settings(tmp_path, OPENAI_API_KEY="environment")
    assert (found.api_key, found.actor, found.from_file) == ("environment", "file", ("SORA_LEDGER_ACTOR",))


def test_a_server_from_the_file_gets_the_key_from_the_file_and_no_other(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPENAI_API_KEY=file\nOPENAI_BASE_URL=http://file/v1\n")
    found = settings(tmp_path, OPENAI_API_KEY="environment")
    assert (found.api_key, found.base_url) == ("file", "http://file/v1")
    found.check_key_goes_to(own_profile=False)


def test_a_server_from_the_file_does_not_get_the_key_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPENAI_BASE_URL=http://file/v1\n")
    with pytest.raises(BadInput, match=r"\.env: it names the server \(OPENAI_BASE_URL\)"):
        settings(tmp_path, OPENAI_API_KEY="environment").check_key_goes_to(own_profile=False)


def test_a_profile_from_the_file_does_not_get_the_key_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SORA_LEDGER_PROFILES=own.toml\n")
    found = settings(tmp_path, OPENAI_API_KEY="environment")
    found.check_key_goes_to(own_profile=False)
    with pytest.raises(BadInput, match=r"\.env: it names the server \(SORA_LEDGER_PROFILES\)"):
        found.check_key_goes_to(own_profile=True)


def test_a_server_from_the_file_may_be_asked_without_any_key(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPENAI_BASE_URL=http://file/v1\n")
    settings(tmp_path).check_key_goes_to(own_profile=False)


def test_a_database_from_the_file_does_not_get_the_password_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SORA_LEDGER_URL=postgresql://host/db\n")
    with pytest.raises(BadInput, match=r"\.env: it names the database SORA_LEDGER_URL"):
        settings(tmp_path, PGPASSWORD="secret")
    assert settings(tmp_path).ledger_path is None
    (tmp_path / ".env").write_text("SORA_LEDGER_URL=postgresql://ana:own@host/db\n")
    assert settings(tmp_path, PGPASSWORD="secret").ledger_path is None


def test_a_variable_in_the_file_stays_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    (tmp_path / ".env").write_text("SORA_LEDGER_ACTOR=${AWS_SECRET_ACCESS_KEY}\n")
    assert settings(tmp_path).actor == "${AWS_SECRET_ACCESS_KEY}"


def test_a_file_that_every_user_may_write_is_ignored(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("SORA_LEDGER_ACTOR=eve\n")
    file.chmod(0o666)
    found = settings(tmp_path)
    assert found.actor != "eve"
    assert (found.file and found.file.ignored) == "every user may write it"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("is_link", [False, True])
def test_a_file_of_another_user_is_ignored(tmp_path: Path, *, is_link: bool) -> None:
    file = tmp_path / ".env"
    if is_link:
        (tmp_path / "theirs").write_text("SORA_LEDGER_ACTOR=eve\n")
        file.symlink_to("theirs")
    else:
        file.write_text("SORA_LEDGER_ACTOR=eve\n")
    os.chown(file, 12_345, 12_345, follow_symlinks=False)
    found = settings(tmp_path)
    assert found.actor != "eve"
    assert (found.file and found.file.ignored) == "it belongs to another user"


def test_a_pipe_in_the_place_of_the_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".env")
    assert settings(tmp_path).from_file == ()


def test_an_empty_variable_counts_as_none(tmp_path: Path) -> None:
    assert settings(tmp_path, OPENAI_API_KEY="  ").api_key is None


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///relative.db", Path("relative.db")),
        ("sqlite:////absolute/ledger.db", Path("/absolute/ledger.db")),
        ("sqlite:////with%20space/ledger.db", Path("/with space/ledger.db")),
        ("plain.db", Path("plain.db")),
    ],
)
def test_the_ledger_is_named_by_url_or_path(tmp_path: Path, url: str, path: Path) -> None:
    assert settings(tmp_path, SORA_LEDGER_URL=url).ledger_path == path


def test_without_a_name_the_ledger_is_in_the_user_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert settings(tmp_path).ledger_path.name == "ledger.db"
    assert settings(tmp_path).ledger_path.parent.name == "sora-ledger"


def test_assets_and_sandbox_are_beside_the_ledger(tmp_path: Path) -> None:
    found = settings(tmp_path, SORA_LEDGER_URL=str(tmp_path / "ledger.db"))
    assert (found.assets_folder, found.sandbox_folder) == (tmp_path / "assets", tmp_path / "sandbox")


def test_assets_may_be_elsewhere(tmp_path: Path) -> None:
    assert settings(tmp_path, SORA_LEDGER_ASSETS="/mnt/clips").assets_folder == Path("/mnt/clips")


@pytest.mark.parametrize(
    ("base_url", "profile"),
    [
        ("", "openai"),
        ("https://api.openai.com/v1", "openai"),
        ("http://127.0.0.1:8000/v1", "custom"),
    ],
)
def test_a_base_url_implies_its_profile(tmp_path: Path, base_url: str, profile: str) -> None:
    assert settings(tmp_path, OPENAI_BASE_URL=base_url).chosen_profile() == profile


@pytest.mark.parametrize(
    ("flag", "environment", "source"),
    [
        ("ana", {"SORA_LEDGER_ACTOR": "eve"}, ActorSource.FLAG),
        (None, {"SORA_LEDGER_ACTOR": "eve"}, ActorSource.ENVIRONMENT),
        (None, {}, ActorSource.OPERATING_SYSTEM),
    ],
)
def test_the_actor_comes_with_where_it_was_named(
    tmp_path: Path, flag: str | None, environment: dict[str, str], source: ActorSource
) -> None:
    found = read_settings(actor=flag, environment=environment, folder=tmp_path)
    assert found.actor_source is source


def test_a_settings_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"OPENAI_API_KEY=\xff\xfe")
    with pytest.raises(BadInput, match=r"\.env: expected lines NAME=value in UTF-8"):
        settings(tmp_path)


def test_a_line_about_a_setting_that_says_none_is_refused_with_its_number(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SOMEBODY ELSES\nSORA_LEDGER_URL mine.db\n")
    with pytest.raises(BadInput, match=r"\.env, line 2: expected NAME=value"):
        settings(tmp_path)


@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan"])
def test_seconds_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInput, match=f"SORA_SANDBOX_SECONDS: expected .* found '{text}'"):
        settings(tmp_path, SORA_SANDBOX_SECONDS=text)


def test_settings_in_a_traceback_do_not_show_the_key(tmp_path: Path) -> None:
    assert "sk-secret" not in repr(settings(tmp_path, OPENAI_API_KEY="sk-secret"))


def test_a_login_is_what_the_operating_system_says_and_not_what_the_environment_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, "somebody_else")
    found = read_settings(environment={}, folder=tmp_path)
    assert found.actor == pwd.getpwuid(os.geteuid()).pw_name


@pytest.mark.parametrize("word", ["film", "film_unit_2", "a" * 40])
def test_whose_money_it_is_comes_from_the_flag_or_the_environment(tmp_path: Path, word: str) -> None:
    environment = {"SORA_LEDGER_TEAM": word, "SORA_LEDGER_PROJECT": "other"}
    found = read_settings(environment=environment, project=word, folder=tmp_path)
    assert (found.team, found.project) == (word, word)


@pytest.mark.parametrize("word", ["Film", "film unit", "film__unit", "_film", "a" * 41])
def test_a_team_whose_name_could_not_be_in_a_budgets_is_refused(tmp_path: Path, word: str) -> None:
    with pytest.raises(BadInput, match="expected lower-case letters and digits"):
        read_settings(environment={}, team=word, folder=tmp_path)


def test_a_line_that_sets_nothing_is_named_with_the_nearest_setting(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "SORA_LEDGER_PROFIL=sandbox\nSORA_LEDGER_OIDC=idp.toml\nSORA_LEDGER_WEBHOOK_SECRETS_MINE=a\nPATH=/\n"
    )
    found = read_settings(environment={}, folder=tmp_path)
    assert found.file is not None
    assert found.file.list_without_effect() == [
        "SORA_LEDGER_PROFIL is not a setting and sets nothing; did you mean SORA_LEDGER_PROFILE?",
        "SORA_LEDGER_OIDC is not read from this file; set it in your shell",
    ]
    assert found.from_file == ("SORA_LEDGER_WEBHOOK_SECRETS_MINE",)


def test_the_page_of_the_settings_lists_those_that_a_file_and_only_a_shell_can_set() -> None:
    lines = (Path(__file__).parents[3] / "docs" / "settings.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    shell, file = set[str](), set[str]()
    for row in rows:
        names = set(re.findall(r"`((?:SORA|OPENAI)_[A-Z_]+)`", row.split("|")[1]))
        (shell if "not read from `.env`" in row else file).update(names)
    assert shell == IN_THE_SHELL
    assert file == IN_A_FILE
