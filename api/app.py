"""The HTTP adapter: one FastAPI application over one :class:`Confiido`."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version

import structlog
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware

from api import errors, observability
from api.auth import Authenticator, Identity
from api.limits import RateLimit
from api.routes import (
    attendance,
    availability,
    booking_commands,
    bookings,
    calendar,
    clients,
    events,
    experts,
    feeds,
    health,
    invoices,
    messages,
    orders,
    payments,
    provider_webhooks,
    reviews,
    seat_bookings,
    service_sessions,
    services,
    session_commands,
    session_payments,
    session_workflow,
    sessions,
    transactions,
    webhooks_admin,
)
from confiido_booking.client import Confiido
from confiido_booking.settings import Settings

log = structlog.stdlib.get_logger("confiido")

_DESCRIPTION = """One booking document per client, sessions inside.

Every answer has `success`. A refusal has `error`, a sentence, and `code`, which is stable. Every write takes an
`Idempotency-Key`; a session's writes take `If-Match`. Money is a JSON number, an instant is UTC with milliseconds.
"""
_TAGS = [
    {"name": "Bookings", "description": "Book, and read what was booked"},
    {"name": "Session commands", "description": "Confirm, cancel, complete, pay, expire, patch"},
    {"name": "Rescheduling", "description": "Move a session, or ask for it"},
    {"name": "Sessions", "description": "Sessions in the words of the sales workflow"},
    {"name": "Payments", "description": "Pay by a provider, and what was paid"},
    {"name": "Webhooks", "description": "What payment providers tell; signed, without a token"},
    {"name": "Invoices", "description": "Bill sessions and other things, and correct what was billed"},
    {"name": "Payments", "description": "What was paid and refunded, and by which entries of the ledger"},
    {"name": "Reviews", "description": "What clients say of sessions"},
    {"name": "Services", "description": "What is sold"},
    {"name": "Orders", "description": "Buy services, and schedule and cancel what they gave"},
    {"name": "Service sessions", "description": "Workshops and the classes of courses, with their places"},
    {"name": "Calendar", "description": "Events of a span of time, with who comes"},
    {"name": "Attendance", "description": "Who came, and the right to join"},
    {"name": "Availability", "description": "When an expert can be booked"},
    {"name": "Experts", "description": "Who can be booked"},
    {"name": "Administration", "description": "For those who run the marketplace"},
    {"name": "Operations", "description": "Health and figures"},
]
_ROUTERS = [
    bookings.api,
    booking_commands.api,
    booking_commands.moves,
    session_workflow.api,
    session_commands.api,
    sessions.api,
    payments.api,
    payments.administration,
    transactions.api,
    provider_webhooks.api,
    invoices.api,
    invoices.of_session,
    session_payments.api,
    session_payments.administration,
    reviews.api,
    reviews.public,
    reviews.administration,
    services.shown,
    services.changed,
    feeds.own,
    feeds.files,
    feeds.public,
    service_sessions.api,
    orders.api,
    seat_bookings.api,
    calendar.api,
    attendance.api,
    attendance.of_service,
    attendance.told,
    availability.api,
    experts.directory,
    experts.own,
    experts.administration,
    messages.api,
    events.api,
    webhooks_admin.api,
    clients.administration,
    health.router,
]
_REQUEST_HEADERS = ["Authorization", "Content-Type", "Idempotency-Key", "If-Match", "Prefer", "X-Request-ID"]
_ANSWER_HEADERS = ["ETag", "Idempotency-Replayed", "Preference-Applied", "Retry-After", "X-Request-ID"]


def create_app(confiido: Confiido | None = None, settings: Settings | None = None) -> FastAPI:
    """The application.

    Given a ``confiido`` it serves that one and leaves its life to the caller; otherwise it connects when it starts,
    by ``settings`` or the environment, and makes the indexes.
    """
    settings = settings or (confiido.settings if confiido else Settings())
    app = FastAPI(
        title="Confiido Booking",
        version=version("confiido-booking"),
        description=_DESCRIPTION,
        openapi_tags=_TAGS,
        lifespan=_lifespan,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
    )
    app.state.settings = settings
    app.state.confiido = confiido
    errors.install(app)
    for routes in _ROUTERS:
        app.include_router(routes)
    _guard(app, settings)
    return app


def _guard(app: FastAPI, settings: Settings) -> None:
    """The middlewares, from the innermost to the outermost."""
    if settings.requests_per_minute:
        app.add_middleware(RateLimit, per_minute=settings.requests_per_minute)
    app.add_middleware(Identity, authenticator=Authenticator(settings))
    app.add_middleware(errors.Shield)
    origins = [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_credentials="*" not in origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=_REQUEST_HEADERS,
            expose_headers=_ANSWER_HEADERS,
        )
    app.add_middleware(observability.Observed)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    async with AsyncExitStack() as stack:
        if app.state.confiido is None:
            observability.configure_logs(settings.log_level)
            app.state.confiido = await stack.enter_async_context(Confiido.connect(None, settings=settings))
            await app.state.confiido.ensure_indexes()
        _announce(settings)
        yield


def _announce(settings: Settings) -> None:
    engine = f"embedded engine in {settings.data_dir}" if settings.embedded else "server of MONGODB_URI"
    log.info("started", engine=engine, environment=settings.env)
    if settings.trust_client_payments:
        log.warning("CONFIIDO_TRUST_CLIENT_PAYMENTS is on: complete-payment believes every client")
    if settings.jwt_secret is None and settings.jwks_url is None:
        log.warning("neither CONFIIDO_JWT_SECRET nor CONFIIDO_JWKS_URL is set: every token is refused")


def _operation_id(route: APIRoute) -> str:
    return route.name
