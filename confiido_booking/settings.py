"""Settings, all from the environment: ``CONFIIDO_*`` and ``MONGODB_URI`` (``confiido settings`` lists them)."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from confiido_booking.errors import Invalid
from confiido_booking.money import currency
from confiido_booking.times import zone


def _zone_name(name: str) -> str:
    try:
        return zone(name).key
    except Invalid as error:
        raise ValueError(str(error)) from None


def _currency_code(code: str) -> str:
    try:
        return currency(code)
    except Invalid as error:
        raise ValueError(str(error)) from None


class Settings(BaseSettings):
    """Every setting with its default. A wrong value stops the start, with a sentence."""

    model_config = SettingsConfigDict(env_prefix="CONFIIDO_", extra="ignore", frozen=True)

    env: Literal["development", "test", "production"] = Field(
        "development", description="'production' refuses unsafe defaults"
    )
    mongodb_uri: SecretStr | None = Field(
        None, validation_alias="MONGODB_URI", description="The server; unset: the embedded engine in the data folder"
    )
    data_dir: Path = Field(Path("data"), description="Where the embedded engine keeps its file")
    embedded: bool = Field(
        False, description="MONGODB_URI is the embedded engine; set by `confiido serve` for its processes"
    )
    hold_minutes: float = Field(30, ge=0, le=525600, description="How long an unpaid hold lasts; 0 = for ever")
    timezone: Annotated[str, AfterValidator(_zone_name)] = Field(
        "Asia/Kolkata", description="Zone where an expert names none"
    )
    currency: Annotated[str, AfterValidator(_currency_code)] = Field(
        "INR", description="Currency where nothing names one"
    )

    seller_name: str = Field("Confiido", max_length=200, description="Who bills: the name on invoices")
    seller_address: str = Field("", max_length=500, description="Who bills: the address; \\n begins a new line")
    seller_tax_id: str = Field("", max_length=60, description="Who bills: the tax number (GSTIN, VAT id)")
    invoice_due_days: int = Field(14, ge=0, le=3650, description="Days from issue until an invoice is due")
    public_url: str = Field(
        "", max_length=500, description="Where clients reach the marketplace; pay links start there"
    )

    auto_refund: bool = Field(False, description="The worker pays back what a cancellation left due")
    razorpay_key_id: str | None = Field(None, description="Razorpay: key id; unset: Razorpay is not offered")
    razorpay_key_secret: SecretStr | None = Field(None, description="Razorpay: key secret")
    razorpay_webhook_secret: SecretStr | None = Field(None, description="Razorpay: secret of its webhooks")
    razorpay_base_url: str | None = Field(None, description="Razorpay: another address than its own")
    stripe_secret_key: SecretStr | None = Field(None, description="Stripe: secret key; unset: Stripe is not offered")
    stripe_webhook_secret: SecretStr | None = Field(None, description="Stripe: signing secret of its webhooks")
    stripe_base_url: str | None = Field(None, description="Stripe: another address than its own")

    smtp_url: SecretStr | None = Field(
        None, description="Mail server, smtp://user:password@host:port or smtps://; unset: no mail is sent"
    )
    mail_from: str = Field("", max_length=320, description="Sender of the mail, 'Name <address>'")
    mail_templates: Path | None = Field(None, description="Folder whose templates take the place of the built-in ones")
    webhook_allow_private: bool = Field(False, description="Outgoing webhooks may go to loopback and private addresses")

    livekit_url: str | None = Field(None, description="LiveKit: address of the server")
    livekit_api_key: str | None = Field(None, description="LiveKit: API key; unset: no rooms, no attendance")
    livekit_api_secret: SecretStr | None = Field(None, description="LiveKit: API secret")
    no_show_after_minutes: float = Field(
        60, ge=0, le=525600, description="Minutes after the end until who did not come is marked as a no-show"
    )

    jwt_secret: SecretStr | None = Field(None, description="HS256 secret of the tokens, at least 32 characters")
    jwks_url: str | None = Field(None, description="Where RS256/ES256 keys are published")
    jwt_audience: str | None = Field(None, description="Required 'aud' of a token, where set")
    jwt_issuer: str | None = Field(None, description="Required 'iss' of a token, where set")
    trust_client_payments: bool = Field(False, description="complete-payment believes the client; never in production")
    rate_limit: int | None = Field(
        None, ge=0, description="Requests a minute and caller; 0 = off; unset: off, 600 in production"
    )
    cors_origins: str = Field("", description="Origins a browser may call from, separated by commas")
    max_body_bytes: int = Field(1024 * 1024, ge=1024, description="Largest request body")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much is logged")

    complete_after_hours: float | None = Field(
        None, ge=0, le=87600, description="The worker completes sessions so long after their end; unset: never"
    )
    archive_after_days: float = Field(
        30, ge=0, le=36500, description="The worker archives sessions finished so long ago"
    )
    worker_interval_seconds: float = Field(15, gt=0, le=86400, description="How often the worker looks for what is due")

    @model_validator(mode="after")
    def _safe_in_production(self) -> Self:
        secret = self.jwt_secret.get_secret_value() if self.jwt_secret else ""
        if secret and len(secret) < 32:
            raise ValueError("CONFIIDO_JWT_SECRET must have at least 32 characters")
        if self.env == "production":
            if self.mongodb_uri is None or self.embedded:
                raise ValueError("production mode needs MONGODB_URI: the embedded engine is for development")
            if not secret and not self.jwks_url:
                raise ValueError("production mode needs CONFIIDO_JWT_SECRET or CONFIIDO_JWKS_URL")
            if self.trust_client_payments:
                raise ValueError("CONFIIDO_TRUST_CLIENT_PAYMENTS is never allowed in production mode")
        return self

    @property
    def hold(self) -> timedelta | None:
        return timedelta(minutes=self.hold_minutes) if self.hold_minutes else None

    @property
    def requests_per_minute(self) -> int | None:
        if self.rate_limit is None:
            return 600 if self.env == "production" else None
        return self.rate_limit or None
