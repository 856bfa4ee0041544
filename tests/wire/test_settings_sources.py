"""Settings: where each value comes from, what is wrong with it, and that no message ever holds one."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from runner.errors import SettingsError
from runner.settings import REQUIRED, NetworkSettings, Settings, load_settings, rehearsal_settings, variable, variables
from runner.wire import WireOptions


class Environment:
    """The process's ``CALLSHEET_*`` variables, emptied for a test and put back afterwards."""

    def __init__(self) -> None:
        self._before = dict(os.environ)

    def clear(self) -> None:
        """Remove every variable of ours."""
        for name in [name for name in os.environ if name.upper().startswith("CALLSHEET_")]:
            del os.environ[name]

    def set(self, **values: str) -> None:
        """Set variables, without their prefix."""
        os.environ.update({f"CALLSHEET_{name}": value for name, value in values.items()})

    def restore(self) -> None:
        """As it was."""
        os.environ.clear()
        os.environ.update(self._before)


@pytest.fixture
def environment() -> Iterator[Environment]:
    """An environment without settings."""
    environment = Environment()
    environment.clear()
    yield environment
    environment.restore()


def problem(root: Path, *, secrets_dir: Path | None = None) -> SettingsError:
    """The error that loading raises; asserts that nothing of pydantic hangs on it."""
    with pytest.raises(SettingsError) as raised:
        load_settings(root, secrets_dir=secrets_dir)
    link: BaseException | None = raised.value
    while link is not None:
        assert not isinstance(link, ValidationError)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return raised.value


def test_nothing_set_gives_defaults(tmp_path: Path, environment: Environment) -> None:
    """Without any source there are defaults, no credentials, and a plain word for each provider that lacks them."""
    settings = load_settings(tmp_path)
    assert settings.kling.base_url is None
    assert settings.webhook_marker_base == "https://callsheet.invalid"
    assert settings.secrets() == ()
    assert settings.credentials_problem("kling") == (
        "kling has no usable credentials: none of them is set. "
        "Set CALLSHEET_KLING__API_KEY, or CALLSHEET_KLING__ACCESS_KEY and CALLSHEET_KLING__SECRET_KEY."
    )
    assert all(settings.credentials_problem(name) for name in REQUIRED)


def test_sources_in_their_order(tmp_path: Path, environment: Environment) -> None:
    """The environment wins over .env, and .env over the secrets folder; empty values win over nothing."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "CALLSHEET_KLING__ACCESS_KEY").write_text("from-folder-1\n")
    (secrets / "callsheet_kling__secret_key").write_text("from-folder-2\r\n")
    (secrets / "CALLSHEET_KLING__API_KEY").write_text("from-folder-3")
    (secrets / "unrelated").write_bytes(b"\xff\xfe")
    (secrets / ".hidden").write_text("x")
    (tmp_path / ".env").write_text(
        "OTHER=1\nCALLSHEET_KLING__ACCESS_KEY=from-env-file\nexport CALLSHEET_KLING__SECRET_KEY='from-file-$HOME-2'\n"
    )
    environment.set(KLING__ACCESS_KEY="from-environment", KLING__SECRET_KEY="  ", SECRETS_DIR=str(secrets))
    kling = load_settings(tmp_path).credentials("kling")
    assert kling == {"access_key": "from-environment", "secret_key": "from-file-$HOME-2", "api_key": "from-folder-3"}


def test_a_given_secrets_folder_wins_over_the_variable(tmp_path: Path, environment: Environment) -> None:
    """--secrets-dir is used instead of CALLSHEET_SECRETS_DIR, and a manifest file may stand for its folder."""
    (tmp_path / "CALLSHEET_AKOOL__API_KEY").write_text("0123456789")
    environment.set(SECRETS_DIR="/nowhere/else")
    settings = load_settings(tmp_path / "campaign.yaml", secrets_dir=tmp_path)
    assert settings.credentials_problem("akool") is None
    assert "/nowhere/else" in problem(tmp_path).message


def test_lower_case_names_count(tmp_path: Path, environment: Environment) -> None:
    """Names are told apart without regard to case."""
    os.environ.update({"callsheet_topview__uid": "u-1", "Callsheet_Topview__Api_Key": "key-1"})
    assert load_settings(tmp_path).credentials_problem("topview") is None


def test_half_a_pair_is_named(tmp_path: Path, environment: Environment) -> None:
    """One half of a pair is said to be there, and what is missing is named."""
    environment.set(AKOOL__CLIENT_ID="id-only-1", CREATIFY__API_KEY="key-only")
    settings = load_settings(tmp_path)
    assert "only CALLSHEET_AKOOL__CLIENT_ID is set" in (settings.credentials_problem("akool") or "")
    assert "CALLSHEET_CREATIFY__API_ID and CALLSHEET_CREATIFY__API_KEY" in (settings.credentials_problem("creatify") or "")
    with pytest.raises(SettingsError, match="no provider"):
        settings.credentials_problem("klink")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("KLING__ACESS_KEY", "CALLSHEET_KLING__ACCESS_KEY"),
        ("KLING_API_KEY", "CALLSHEET_KLING__API_KEY"),
        ("KLIN__API_KEY", "CALLSHEET_KLING__API_KEY"),
        ("TOPVIEW__UUID", "CALLSHEET_TOPVIEW__UID"),
        ("NETWORK__ANSWER_SECOND", "CALLSHEET_NETWORK__ANSWER_SECONDS"),
        ("SECRET_DIR", "CALLSHEET_SECRETS_DIR"),
    ],
)
def test_typing_errors_get_a_suggestion(tmp_path: Path, environment: Environment, name: str, meant: str) -> None:
    """An unknown variable is an error that names the likely one, wherever it stands."""
    environment.set(**{name: "s3cret-value"})
    error = problem(tmp_path)
    assert f"did you mean {meant}?" in error.message
    assert error.source == "the environment"
    environment.clear()
    (tmp_path / ".env").write_text(f"CALLSHEET_{name}=s3cret-value\n")
    error = problem(tmp_path)
    assert meant in error.message
    assert error.source.endswith(".env")
    assert "s3cret" not in str(error)


def test_a_provider_as_one_json_value_is_not_a_setting(tmp_path: Path, environment: Environment) -> None:
    """Only the documented names exist; a whole group in one variable is refused without showing it."""
    environment.set(KLING='{"api_key": "s3cret-value"}')
    error = problem(tmp_path)
    assert "CALLSHEET_KLING " in error.message
    assert "s3cret" not in str(error)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KLING__API_KEY", "s3cret value"),
        ("KLING__API_KEY", "s3cret\nvalue"),
        ("KLING__API_KEY", "s3crét"),
        ("KLING__API_KEY", "“s3cret”"),
        ("KLING__BASE_URL", "https://user:s3cret@api.example"),
        ("KLING__BASE_URL", "https://api.example/?token=s3cret"),
        ("KLING__BASE_URL", "https://api.example#s3cret"),
        ("KLING__BASE_URL", "ftp://s3cret"),
        ("KLING__BASE_URL", "s3cret.example"),
        ("KLING__BASE_URL", "https://"),
        ("KLING__BASE_URL", "https://host:s3cret"),
        ("KLING__BASE_URL", "https://host:0/s3cret"),
        ("KLING__BASE_URL", "https://[s3cret"),
        ("KLING__BASE_URL", "https://a\\s3cret"),
        ("NETWORK__ANSWER_SECONDS", "s3cret"),
        ("NETWORK__ANSWER_SECONDS", "-1"),
        ("NETWORK__ANSWER_SECONDS", "0"),
        ("NETWORK__ANSWER_SECONDS", "nan"),
        ("NETWORK__ANSWER_SECONDS", "inf"),
        ("NETWORK__DOWNLOADS", "1.5"),
        ("NETWORK__USE_PROXIES", "s3cret"),
        ("MAX_DOWNLOAD_BYTES", "s3cret"),
        ("WEBHOOK_MARKER_BASE", "s3cret"),
    ],
)
def test_wrong_values_are_named_and_never_shown(tmp_path: Path, environment: Environment, name: str, value: str) -> None:
    """The message names the variable and its source, and holds nothing of the value."""
    environment.set(**{name: value})
    error = problem(tmp_path)
    assert f"CALLSHEET_{name} (in the environment)" in error.message
    assert "s3cret" not in f"{error} {error.hint} {error!r}"


def test_all_wrong_values_are_named_at_once(tmp_path: Path, environment: Environment) -> None:
    """Every wrong variable is in one message."""
    environment.set(NETWORK__DOWNLOADS="x", KLING__BASE_URL="y")
    message = problem(tmp_path).message
    assert "CALLSHEET_NETWORK__DOWNLOADS" in message
    assert "CALLSHEET_KLING__BASE_URL" in message


@pytest.mark.parametrize("given", ["https://api.example/v1", "https://api.example/v1/", " https://api.example/v1// "])
def test_base_urls_lose_their_trailing_slashes(tmp_path: Path, environment: Environment, given: str) -> None:
    """A base URL is kept without the slash that would double."""
    environment.set(KLING__BASE_URL=given)
    assert load_settings(tmp_path).kling.base_url == "https://api.example/v1"


def test_files_that_cannot_be_read_are_named(tmp_path: Path, environment: Environment) -> None:
    """A binary .env, a missing secrets folder, and an oversized or binary secret are plain errors with their source."""
    (tmp_path / ".env").write_bytes(b"CALLSHEET_KLING__API_KEY=\xff\xfe\x00s3cret")
    assert problem(tmp_path).source == str(tmp_path / ".env")
    (tmp_path / ".env").unlink()
    assert problem(tmp_path, secrets_dir=tmp_path / "none").source == str(tmp_path / "none")
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "CALLSHEET_KLING__API_KEY").write_bytes(b"\xff\xfes3cret")
    assert "s3cret" not in str(problem(tmp_path, secrets_dir=folder))
    (folder / "CALLSHEET_KLING__API_KEY").write_text("a" * 100_000)
    assert "too large" in problem(tmp_path, secrets_dir=folder).message


def test_secrets_are_never_printed(tmp_path: Path, environment: Environment) -> None:
    """The settings' own text hides every secret, and ``secrets`` lists them all."""
    environment.set(KLING__API_KEY="aaaa-1111", TOPVIEW__API_KEY="bbbb-2222", TOPVIEW__UID="bbbb-2222")
    settings = load_settings(tmp_path)
    assert "1111" not in f"{settings} {settings!r} {settings.model_dump_json()}"
    assert settings.secrets() == ("aaaa-1111", "bbbb-2222")


def test_network_settings_are_the_wires_options(tmp_path: Path, environment: Environment) -> None:
    """Names and defaults agree with the wire's options, so that one becomes the other without a table."""
    assert NetworkSettings().model_dump() == dataclasses.asdict(WireOptions())
    environment.set(NETWORK__ANSWER_SECONDS="7.5", NETWORK__USE_PROXIES="off")
    options = WireOptions(**load_settings(tmp_path).network.model_dump())
    assert (options.answer_seconds, options.use_proxies) == (7.5, False)


def test_a_rehearsal_reads_only_limits(tmp_path: Path, environment: Environment) -> None:
    """Real credentials and addresses in the environment never reach a rehearsal, not even wrong ones; limits do."""
    environment.set(
        KLING__API_KEY="real-api-key", AKOOL__BASE_URL="https://real.example", TOPVIEW__UID="bad value", NETWORK__DOWNLOADS="3"
    )
    settings = rehearsal_settings("http://127.0.0.1:8080/")
    assert settings.network.downloads == 3
    assert {name: settings.provider(name).base_url for name in REQUIRED} == {
        name: f"http://127.0.0.1:8080/{name}" for name in REQUIRED
    }
    assert settings.credentials("kling") == {
        "access_key": "rehearsal-access-key",
        "secret_key": "rehearsal-secret-key-0123456789abcdef",
    }
    assert settings.credentials("creatify") == {"api_id": "rehearsal-id", "api_key": "rehearsal-key"}
    assert settings.credentials("topview") == {"api_key": "rehearsal-key", "uid": "rehearsal-uid"}
    assert settings.credentials("akool") == {
        "client_id": "rehearsal-client-id-0001",
        "client_secret": "rehearsal-secret-0000001",
    }
    assert len(settings.credentials("akool")["client_secret"]) == 24
    assert not any(settings.credentials_problem(name) for name in REQUIRED)


def test_bare_settings_read_nothing(environment: Environment) -> None:
    """``Settings()`` alone takes nothing from the environment: only ``load_settings`` does."""
    environment.set(KLING__API_KEY="real-api-key")
    assert Settings().kling.api_key is None


def test_every_required_credential_is_a_variable() -> None:
    """The table of required credentials names settings that exist."""
    for provider, ways in REQUIRED.items():
        assert all(variable(provider, field) in variables() for way in ways for field in way)


def test_importing_the_package_stays_light() -> None:
    """``import runner`` loads neither settings nor HTTP."""
    heavy = "{'pydantic_settings', 'httpx', 'aiohttp', 'pydantic'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, runner; print({heavy})"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
