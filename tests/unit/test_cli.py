"""The ``confiido`` command, as a shell sees it: what it prints, and its exit code."""

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import jwt
import pytest

from confiido_booking.cli import main

SECRET = "0123456789abcdef0123456789abcdef"
SUB = "68b61bd7a4c0bf9eaab38ee7"


@dataclass(frozen=True)
class Ended:
    returncode: int
    stdout: str
    stderr: str


class Command(Protocol):
    def __call__(self, *arguments: str, **environment: str) -> Ended: ...


@pytest.fixture
def confiido(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command with an environment of its own, its data in ``tmp_path``."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("CONFIIDO_DATA_DIR", str(tmp_path))

    def run(*arguments: str, **environment: str) -> Ended:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        printed = capsys.readouterr()
        code = ended.value.code
        return Ended(code if isinstance(code, int) else 0, printed.out, printed.err)

    return run


def claims(token: str, secret: str) -> dict[str, object]:
    decoded: dict[str, object] = jwt.decode(token.strip(), secret, algorithms=["HS256"], options={"verify_aud": False})
    return decoded


def test_a_token_says_who_acts_and_ends(confiido: Command, tmp_path: Path) -> None:
    made = confiido(
        *("token", "--role", "expert", "--sub", SUB, "--user-id", "1001", "--email", "a@example.org", "--hours", "2"),
        CONFIIDO_JWT_SECRET=SECRET,
        CONFIIDO_JWT_AUDIENCE="marketplace",
    )

    token = claims(made.stdout, SECRET)
    assert {name: token[name] for name in ("sub", "role", "user_id", "email", "aud")} == {
        "sub": SUB,
        "role": "expert",
        "user_id": "1001",
        "email": "a@example.org",
        "aud": "marketplace",
    }
    lasts = datetime.fromtimestamp(float(str(token["exp"])), UTC) - datetime.now(UTC)
    assert timedelta(hours=1, minutes=58) < lasts <= timedelta(hours=2)


def test_the_development_secret_is_private_and_outlives_the_command(confiido: Command, tmp_path: Path) -> None:
    first = confiido("token", "--role", "client", "--sub", SUB)
    second = confiido("token", "--role", "admin", "--sub", SUB)

    file = tmp_path / "jwt-secret"
    assert claims(first.stdout, file.read_text())["role"] == "client"
    assert claims(second.stdout, file.read_text())["role"] == "admin"
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--role", "client", "--sub", "1234"), "--sub must be an id of 24 hexadecimal digits"),
        (("--role", "system", "--sub", SUB), "--role must be client, expert, admin or service"),
        (("--role", "client", "--sub", SUB, "--user-id", "12345"), "--user-id must be 4 digits"),
        (("--role", "client", "--sub", SUB, "--hours", "nan"), "Invalid value for '--hours'"),
        (("--role", "client", "--sub", SUB, "--hours", "-1"), "Invalid value for '--hours'"),
        (("--role", "king", "--sub", SUB), "Invalid value for '--role'"),
    ],
)
def test_a_token_for_nobody_the_api_knows_is_refused(
    confiido: Command, arguments: tuple[str, ...], sentence: str
) -> None:
    refused = confiido("token", *arguments)

    assert refused.returncode == 2
    assert sentence in refused.stderr
    assert refused.stdout == ""


def test_no_token_is_minted_where_published_keys_sign_them(confiido: Command, tmp_path: Path) -> None:
    refused = confiido("token", "--role", "client", "--sub", SUB, CONFIIDO_JWKS_URL="https://id.example/keys")

    assert refused.returncode == 2
    assert "CONFIIDO_JWKS_URL" in refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"CONFIIDO_ENV": "production"}, "production mode needs MONGODB_URI: the embedded engine is for development"),
        (
            {"CONFIIDO_ENV": "production", "MONGODB_URI": "mongodb://db.example"},
            "production mode needs CONFIIDO_JWT_SECRET or CONFIIDO_JWKS_URL",
        ),
        ({"CONFIIDO_CURRENCY": "gold"}, "CONFIIDO_CURRENCY: currency must be an ISO 4217 code"),
    ],
)
def test_serve_refuses_unsafe_or_wrong_settings_with_one_sentence(
    confiido: Command, tmp_path: Path, environment: dict[str, str], sentence: str
) -> None:
    refused = confiido("serve", **environment)

    assert refused.returncode == 2
    assert refused.stderr == f"confiido: {sentence}\n"
    assert list(tmp_path.iterdir()) == []


def test_serve_refuses_a_taken_port_with_one_sentence(confiido: Command, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        refused = confiido("serve", "--port", str(port))

    assert refused.returncode == 2
    assert refused.stderr == f"confiido: Cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_a_wrong_address_is_one_sentence(confiido: Command) -> None:
    refused = confiido("doctor", MONGODB_URI="localhost")

    assert refused.returncode == 2
    assert refused.stderr.startswith("confiido: This is no MongoDB address: Invalid URI scheme")


def test_an_absent_server_is_named_in_one_sentence_without_the_password() -> None:
    asked = [sys.executable, "-c", "from confiido_booking.cli import main; main(['doctor'])"]
    environment = os.environ | {"MONGODB_URI": "mongodb://me:hush@127.0.0.1:1/x?serverSelectionTimeoutMS=200"}

    refused = subprocess.run(asked, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert (refused.returncode, refused.stderr) == (2, "confiido: No server answers at 127.0.0.1:1\n")


def test_settings_shows_whole_names_in_a_narrow_terminal(confiido: Command) -> None:
    shown = confiido("settings", COLUMNS="80")

    assert "CONFIIDO_TRUST_CLIENT_PAYMENTS" in shown.stdout


def test_settings_lists_every_variable_and_no_secret(confiido: Command, tmp_path: Path) -> None:
    shown = confiido("settings", CONFIIDO_JWT_SECRET=SECRET, MONGODB_URI="mongodb://me:hush@db.example")

    assert shown.returncode == 0
    assert all(name in shown.stdout for name in ("MONGODB_URI", "CONFIIDO_HOLD_MINUTES", "CONFIIDO_CORS_ORIGINS"))
    assert SECRET not in shown.stdout
    assert "hush" not in shown.stdout


def test_a_data_folder_that_is_a_file_is_one_sentence(confiido: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    refused = confiido("doctor", CONFIIDO_DATA_DIR=str(tmp_path / "file"))

    assert refused.returncode == 2
    assert "Not a directory" in refused.stderr


@pytest.mark.parametrize("arguments", [("doctor",), ("reconcile", __file__), ("migrate", "status")])
def test_what_only_looks_makes_no_data_where_there_is_none(
    confiido: Command, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    folder = tmp_path / "nowhere"

    refused = confiido(*arguments, CONFIIDO_DATA_DIR=str(folder))

    assert refused.returncode == 2
    assert refused.stderr.startswith(f"confiido: There is no data in {folder};")
    assert not folder.exists()


def test_version_and_help_need_no_server(confiido: Command) -> None:
    printed = confiido("version")
    helped = confiido("--help")

    assert (printed.returncode, printed.stdout.strip()) == (0, version("confiido-booking"))
    assert all(command in helped.stdout for command in ("serve", "worker", "doctor", "token", "demo", "indexes"))
