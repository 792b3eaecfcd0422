"""Who calls: a bearer token, checked once per request by :class:`Identity`, becomes an ``Actor``.

HS256 by the shared secret, RS256 and ES256 by published keys. The algorithm decides which key is used, never the
other way round, so that neither ``alg: none`` nor a public key used as a shared secret gets anywhere.
"""

import asyncio
import re
from typing import Any

import jwt
from bson import ObjectId
from jwt.exceptions import PyJWKClientConnectionError
from starlette.types import ASGIApp, Receive, Scope, Send

from confiido_booking.actors import Actor, Role
from confiido_booking.errors import BookingError, NotAuthenticated, Unavailable
from confiido_booking.settings import Settings

_ROLES = {role.value: role for role in (Role.CLIENT, Role.EXPERT, Role.ADMIN, Role.SERVICE)}
_BY_SECRET, _BY_KEYS = "HS256", ("RS256", "ES256")
_CLAIMS = {
    "email": re.compile(r"[^\x00-\x20\x7f\ud800-\udfff]{3,254}"),
    "name": re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{0,200}"),
}


class Authenticator:
    """Turns an ``Authorization`` header into an Actor, as the settings say."""

    def __init__(self, settings: Settings) -> None:
        self._secret = settings.jwt_secret.get_secret_value() if settings.jwt_secret else None
        self._keys = jwt.PyJWKClient(settings.jwks_url, timeout=5) if settings.jwks_url else None
        self._audience, self._issuer = settings.jwt_audience, settings.jwt_issuer

    async def actor(self, authorization: str | None) -> Actor:
        """Raises Unavailable where the published keys cannot be read, else NotAuthenticated: ``not_authenticated``
        without a token, ``token_expired``, ``invalid_token``."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise NotAuthenticated()
        try:
            return _actor(await self._claims(token.strip()))
        except PyJWKClientConnectionError as error:
            raise Unavailable("The identity provider does not answer", code="identity_unavailable") from error
        except jwt.ExpiredSignatureError:
            raise NotAuthenticated(code="token_expired") from None
        except NotAuthenticated:
            raise NotAuthenticated(code="invalid_token") from None
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError):
            raise NotAuthenticated(code="invalid_token") from None

    async def _claims(self, token: str) -> dict[str, Any]:
        algorithm = jwt.get_unverified_header(token).get("alg")
        key: Any
        if algorithm == _BY_SECRET and self._secret is not None:
            key = self._secret
        elif algorithm in _BY_KEYS and self._keys is not None:
            key = await asyncio.to_thread(self._keys.get_signing_key_from_jwt, token)
        else:
            raise NotAuthenticated()
        return jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=self._audience,
            issuer=self._issuer,
            options={"require": ["exp", "sub"], "verify_aud": self._audience is not None},
        )


def _actor(claims: dict[str, Any]) -> Actor:
    role, subject, user_id = claims.get("role"), claims["sub"], claims.get("user_id")
    if not isinstance(role, str) or role not in _ROLES:
        raise NotAuthenticated()
    if not isinstance(subject, str) or len(subject) != 24 or not ObjectId.is_valid(subject):
        raise NotAuthenticated()
    if user_id is not None and not re.fullmatch(r"[0-9]{4}", str(user_id)):
        raise NotAuthenticated()
    for claim, pattern in _CLAIMS.items():
        value = claims.get(claim)
        if value is not None and not (isinstance(value, str) and pattern.fullmatch(value)):
            raise NotAuthenticated()
    return Actor(
        role=_ROLES[role],
        id=ObjectId(subject),
        user_id=None if user_id is None else str(user_id),
        email=claims.get("email"),
        name=claims.get("name"),
        email_verified=claims.get("email_verified") is True,
    )


class Identity:
    """ASGI: leaves ``state.caller`` for the routes: an Actor, or the refusal that a guarded route will raise."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self.app = app
        self.authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/api/"):
            header = next((value for name, value in scope["headers"] if name == b"authorization"), None)
            try:
                caller: Actor | BookingError = await self.authenticator.actor(header and header.decode("latin-1"))
            except BookingError as error:
                caller = error
            scope["state"]["caller"] = caller
        await self.app(scope, receive, send)
