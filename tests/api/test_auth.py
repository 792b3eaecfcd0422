"""Tokens: who gets in, and who does not (SPEC 8; DEFECTS C16)."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import httpx
import jwt
import pytest
from bson import ObjectId
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from api.app import create_app
from api.auth import Authenticator
from confiido_booking.actors import Role
from confiido_booking.client import Confiido
from confiido_booking.errors import NotAuthenticated, Unavailable
from confiido_booking.settings import Settings
from tests.api.conftest import http_client
from tests.conftest import SECRET

USER = "68b6134f8e21e1ae686349f7"


def claims(**overrides: object) -> dict[str, Any]:
    given = {"sub": USER, "role": "client", "user_id": "9062", "exp": int(time.time()) + 3600, **overrides}
    return {name: value for name, value in given.items() if value is not ...}


def token(
    *, key: Any = SECRET, algorithm: str = "HS256", headers: dict[str, Any] | None = None, **given: object
) -> str:
    return jwt.encode(claims(**given), key, algorithm=algorithm, headers=headers)


def unsigned(algorithm: str) -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": algorithm, "typ": "JWT"}, claims())]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."


def settings_with(**given: object) -> Settings:
    return Settings.model_validate({"env": "test", **given})


async def test_a_good_token_names_the_actor() -> None:
    authenticator = Authenticator(settings_with(jwt_secret=SECRET))

    actor = await authenticator.actor(f"Bearer {token(email='ada@example.org', name='Ada')}")

    assert (actor.role, actor.id, actor.user_id) == (Role.CLIENT, ObjectId(USER), "9062")
    assert (actor.email, actor.name) == ("ada@example.org", "Ada")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic dTpw",
        f"Bearer x_{USER}",
        f"Bearer mock_{USER}",
        "Bearer a.b.c",
        "Bearer " + "A" * 100_000,
        f"Bearer {unsigned('none')}",
        f"Bearer {unsigned('None')}",
        f"Bearer {unsigned('HS256')}",
        f"Bearer {token(key='another secret that is long enough, surely')}",
        f"Bearer {token(exp=int(time.time()) - 1)}",
        f"Bearer {token(exp=...)}",
        f"Bearer {token(exp='soon')}",
        f"Bearer {token(sub=...)}",
        f"Bearer {token(sub='42')}",
        f"Bearer {token(sub='z' * 24)}",
        f"Bearer {token(role=...)}",
        f"Bearer {token(role='system')}",
        f"Bearer {token(role='payment')}",
        f"Bearer {token(role=['admin'])}",
        f"Bearer {token(user_id='90625')}",
        f"Bearer {token(user_id={'$ne': None})}",
        f"Bearer {token(email=['a'])}",
        f"Bearer {token(name='a\0b')}",
        f"Bearer {token(nbf=int(time.time()) + 600)}",
        f"Bearer {unsigned('HS512')}",
    ],
)
async def test_anything_else_is_nobody(header: str | None) -> None:
    with pytest.raises(NotAuthenticated):
        await Authenticator(settings_with(jwt_secret=SECRET)).actor(header)


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "not_authenticated"),
        ("Basic YWRhOmFkYQ==", "not_authenticated"),
        ("Bearer ", "not_authenticated"),
        (f"Bearer {token(exp=int(time.time()) - 60)}", "token_expired"),
        ("Bearer x.y.z", "invalid_token"),
        (f"Bearer {token(role='king')}", "invalid_token"),
        (f"Bearer {unsigned('HS512')}", "invalid_token"),
    ],
)
async def test_a_program_can_tell_why_it_is_nobody(header: str | None, code: str) -> None:
    with pytest.raises(NotAuthenticated) as refused:
        await Authenticator(settings_with(jwt_secret=SECRET)).actor(header)

    assert refused.value.code == code


async def test_without_a_secret_every_token_is_refused() -> None:
    with pytest.raises(NotAuthenticated):
        await Authenticator(settings_with()).actor(f"Bearer {token()}")


async def test_audience_and_issuer_are_demanded_where_they_are_set() -> None:
    authenticator = Authenticator(settings_with(jwt_secret=SECRET, jwt_audience="booking", jwt_issuer="https://id"))

    await authenticator.actor(f"Bearer {token(aud='booking', iss='https://id')}")

    wrongs: list[dict[str, Any]] = [
        {},
        {"aud": "other", "iss": "https://id"},
        {"aud": "booking", "iss": "https://evil"},
    ]
    for wrong in wrongs:
        with pytest.raises(NotAuthenticated):
            await authenticator.actor(f"Bearer {token(**wrong)}")


@pytest.fixture
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def published(rsa_key: rsa.RSAPrivateKey) -> Iterator[tuple[str, Callable[[], int]]]:
    """A JWKS on loopback with one RSA key called ``one``: its address, and how often it was read."""
    key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key.public_key()))
    document = json.dumps({"keys": [{**key, "kid": "one", "use": "sig", "alg": "RS256"}]}).encode()
    reads = 0

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal reads
            reads += 1
            self.send_response(200)
            self.end_headers()
            self.wfile.write(document)

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Keys) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/keys", lambda: reads
        server.shutdown()


async def test_published_keys_sign_tokens_and_are_read_once(
    published: tuple[str, Callable[[], int]], rsa_key: rsa.RSAPrivateKey
) -> None:
    address, reads = published
    authenticator = Authenticator(settings_with(jwks_url=address))
    signed = token(key=rsa_key, algorithm="RS256", headers={"kid": "one"}, role="admin")

    actors = [await authenticator.actor(f"Bearer {signed}") for _ in range(3)]

    assert [actor.role for actor in actors] == [Role.ADMIN] * 3
    assert reads() == 1


async def test_a_public_key_is_no_shared_secret(
    published: tuple[str, Callable[[], int]], rsa_key: rsa.RSAPrivateKey
) -> None:
    public = rsa_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    header, payload = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": "HS256", "kid": "one"}, claims(role="admin"))
    )
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    forged = b".".join((header, payload, base64.urlsafe_b64encode(_hmac(signature, header + b"." + payload, public))))

    with pytest.raises(NotAuthenticated):
        await Authenticator(settings_with(jwks_url=published[0])).actor(f"Bearer {forged.decode().rstrip('=')}")


def _hmac(algorithm: jwt.algorithms.HMACAlgorithm, message: bytes, key: bytes) -> bytes:
    return algorithm.sign(message, key)


async def test_a_foreign_key_of_the_same_name_or_another_name_is_refused(
    published: tuple[str, Callable[[], int]],
) -> None:
    authenticator = Authenticator(settings_with(jwks_url=published[0]))
    foreign = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    curve = ec.generate_private_key(ec.SECP256R1())

    for key, algorithm, name in ((foreign, "RS256", "one"), (foreign, "RS256", "two"), (curve, "ES256", "one")):
        with pytest.raises(NotAuthenticated):
            await authenticator.actor(f"Bearer {token(key=key, algorithm=algorithm, headers={'kid': name})}")


async def test_keys_that_cannot_be_read_are_unavailable_and_nobody_gets_in(rsa_key: rsa.RSAPrivateKey) -> None:
    authenticator = Authenticator(settings_with(jwks_url="http://127.0.0.1:1/keys"))

    with pytest.raises(Unavailable):
        await authenticator.actor(f"Bearer {token(key=rsa_key, algorithm='RS256', headers={'kid': 'one'})}")


async def test_nobody_gets_the_frontends_sentence(http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/bookings/user")

    assert answer.status_code == 401
    assert answer.json() == {
        "success": False,
        "error": "Not authorized to access this route",
        "code": "not_authenticated",
    }
    assert answer.headers["www-authenticate"] == "Bearer"


PUBLIC = {
    ("POST", "/api/webhooks/razorpay"),  # signed
    ("POST", "/api/webhooks/stripe"),
    ("POST", "/api/webhooks/livekit"),
    ("GET", "/api/feeds/{secret}.ics"),  # the address is the secret
    ("GET", "/api/reviews/expert/{id}"),
    ("GET", "/api/v1/services"),
    ("GET", "/api/v1/services/{id}"),
}


async def test_no_route_of_the_api_answers_nobody_but_what_anybody_may_read(confiido: Confiido) -> None:
    app = create_app(confiido)
    routes = [
        (method.upper(), path)
        for path, operations in app.openapi()["paths"].items()
        for method in operations
        if path.startswith("/api/")
    ]

    async with http_client(app) as http:
        answers = {
            (method, path): (await http.request(method, path.replace("{", "").replace("}", ""))).status_code
            for method, path in routes
        }

    assert len(answers) > 30
    assert {route for route, status in answers.items() if status != 401} == PUBLIC
