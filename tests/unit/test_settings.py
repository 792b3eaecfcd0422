"""What the environment may say, and what production refuses (SPEC 10)."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from confiido_booking.settings import Settings

SECRET = "0123456789abcdef0123456789abcdef"
PRODUCTION = {"CONFIIDO_ENV": "production", "MONGODB_URI": "mongodb://db.example", "CONFIIDO_JWT_SECRET": SECRET}


def given(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Settings()


def test_an_empty_environment_gives_development_on_the_embedded_engine() -> None:
    settings = Settings()

    assert (settings.env, settings.mongodb_uri, settings.jwt_secret) == ("development", None, None)
    assert (settings.hold, settings.timezone, settings.currency) == (timedelta(minutes=30), "Asia/Kolkata", "INR")
    assert settings.requests_per_minute is None


def test_every_setting_says_what_it_does() -> None:
    undescribed = [name for name, about in Settings.model_fields.items() if not about.description]

    assert undescribed == []


def test_production_with_a_server_and_a_secret_starts_and_limits_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = given(monkeypatch, **PRODUCTION)

    assert settings.requests_per_minute == 600


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"MONGODB_URI": None}, "production mode needs MONGODB_URI"),
        ({"CONFIIDO_EMBEDDED": "1"}, "the embedded engine is for development"),
        ({"CONFIIDO_JWT_SECRET": None}, "needs CONFIIDO_JWT_SECRET or CONFIIDO_JWKS_URL"),
        ({"CONFIIDO_JWT_SECRET": ""}, "needs CONFIIDO_JWT_SECRET or CONFIIDO_JWKS_URL"),
        ({"CONFIIDO_TRUST_CLIENT_PAYMENTS": "true"}, "never allowed in production"),
    ],
)
def test_production_refuses_what_is_not_safe(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, str | None], sentence: str
) -> None:
    environment = {name: value for name, value in {**PRODUCTION, **change}.items() if value is not None}

    with pytest.raises(ValidationError, match=sentence):
        given(monkeypatch, **environment)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CONFIIDO_JWT_SECRET", "short"),
        ("CONFIIDO_HOLD_MINUTES", "-1"),
        ("CONFIIDO_HOLD_MINUTES", "nan"),
        ("CONFIIDO_HOLD_MINUTES", "soon"),
        ("CONFIIDO_TIMEZONE", "Mars/Olympus"),
        ("CONFIIDO_CURRENCY", "XYZ"),
        ("CONFIIDO_ENV", "prod"),
        ("CONFIIDO_RATE_LIMIT", "-5"),
        ("CONFIIDO_WORKER_INTERVAL_SECONDS", "0"),
        ("CONFIIDO_WORKER_INTERVAL_SECONDS", "inf"),
        ("CONFIIDO_ARCHIVE_AFTER_DAYS", "1e9"),
        ("CONFIIDO_COMPLETE_AFTER_HOURS", "nan"),
    ],
)
def test_a_wrong_value_stops_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    with pytest.raises(ValidationError):
        given(monkeypatch, **{name: value})


def test_a_hold_of_zero_minutes_lasts_for_ever_and_parts_of_a_minute_count(monkeypatch: pytest.MonkeyPatch) -> None:
    forever = given(monkeypatch, CONFIIDO_HOLD_MINUTES="0")
    seconds = given(monkeypatch, CONFIIDO_HOLD_MINUTES="0.05")

    assert forever.hold is None
    assert seconds.hold == timedelta(seconds=3)


def test_secrets_do_not_show_in_the_settings_text(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = given(monkeypatch, MONGODB_URI="mongodb://me:hush@db.example", CONFIIDO_JWT_SECRET=SECRET)

    assert "hush" not in repr(settings)
    assert SECRET not in repr(settings)
