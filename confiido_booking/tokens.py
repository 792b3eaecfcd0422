"""Tokens for development: a secret of this installation's own, kept in the data folder, and HS256 tokens made with it.

Production never comes here: its settings demand a secret or published keys.
"""

import os
import secrets
from datetime import timedelta
from pathlib import Path

from confiido_booking.actors import Actor
from confiido_booking.errors import NotAllowed
from confiido_booking.settings import Settings
from confiido_booking.times import Clock, utc_now


def development_secret(data_dir: Path) -> str:
    """The secret in ``jwt-secret``, made at random on first use, so that tokens outlive a restart."""
    file = data_dir / "jwt-secret"
    data_dir.mkdir(parents=True, exist_ok=True)
    draft = data_dir / f"jwt-secret.{os.getpid()}"
    if not file.exists():
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(48))
        try:
            os.link(draft, file)  # whole or not at all, and the first of two wins
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return file.read_text().strip()


def secret_of(settings: Settings) -> str:
    """The configured HS256 secret, else the development one.

    Raises:
        NotAllowed: somebody else's published keys sign the tokens here.
    """
    if settings.jwks_url and not settings.jwt_secret:
        raise NotAllowed(
            "Tokens come from whoever publishes CONFIIDO_JWKS_URL; set CONFIIDO_JWT_SECRET to mint some here"
        )
    return settings.jwt_secret.get_secret_value() if settings.jwt_secret else development_secret(settings.data_dir)


def mint(actor: Actor, *, settings: Settings, lasts: timedelta, clock: Clock = utc_now) -> str:
    """A bearer token by which the API knows this actor, who must have an ``id``."""
    import jwt

    issued_at = clock()
    claims = {
        "sub": str(actor.id),
        "role": actor.role.value,
        "user_id": actor.user_id,
        "email": actor.email,
        "name": actor.name,
        "email_verified": actor.email_verified or None,
        "aud": settings.jwt_audience,
        "iss": settings.jwt_issuer,
        "iat": issued_at,
        "exp": issued_at + lasts,
    }
    present = {claim: value for claim, value in claims.items() if value is not None}
    return jwt.encode(present, secret_of(settings), algorithm="HS256")
