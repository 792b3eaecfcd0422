"""From the library's kinds of refusal to HTTP's statuses, and the answer to what nobody expected."""

from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.body import BodyTooLarge, NotJson
from api.envelope import Answer, refusal
from confiido_booking.errors import (
    BookingError,
    Conflict,
    FieldError,
    Invalid,
    Malformed,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    PaymentNotVerified,
    PreconditionFailed,
    TooManyRequests,
    Unavailable,
)

log = structlog.stdlib.get_logger("confiido.http")

STATUSES: Mapping[type[BookingError], int] = {
    Malformed: 400,
    NotAuthenticated: 401,
    PaymentNotVerified: 402,
    NotAllowed: 403,
    NotFound: 404,
    Conflict: 409,
    PreconditionFailed: 412,
    BodyTooLarge: 413,
    NotJson: 415,
    Invalid: 422,
    TooManyRequests: 429,
    Unavailable: 503,
}
_HTTP_CODES = {404: ("not_found", "Not found"), 405: ("method_not_allowed", "This method is not allowed here")}
_REQUIRED = {"sessionId": "Session ID is required", "timeouts": "Timeouts array is required"}
_MOST_ERRORS = 100
_ECHOING = {"union_tag_invalid": "Input is of no known kind"}  # messages of pydantic that quote the input


def status_of(error: BookingError) -> int:
    """The status of the nearest kind in the error's own family; 400 for a kind that names none."""
    return next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), 400)


def answer_to(error: BookingError) -> Answer:
    errors = [_wire(item) for item in error.errors] if isinstance(error, Invalid) else None
    return refusal(
        status_of(error), str(error), error.code, details=error.details, errors=errors, headers=_headers(error)
    )


def invalid(error: RequestValidationError) -> Invalid:
    """Pydantic's findings as the library's own refusal, without the values that were sent."""
    found = error.errors()
    fields = [_field_error(item) for item in found[:_MOST_ERRORS]]
    sentence = None
    if found and found[0]["type"] != "extra_forbidden":  # there the path is the caller's own word
        first = fields[0]
        sentence = first.message if first.message.endswith("is required") else f"{first.path}: {first.message}"
    return Invalid(sentence, errors=fields)


def _field_error(found: Mapping[str, Any]) -> FieldError:
    location, *path = (str(part)[:100] for part in found["loc"])
    name = ".".join(path) or location
    if found["type"] == "missing":
        return FieldError(name, _REQUIRED.get(name, f"{name} is required"), location)
    return FieldError(name, _message(found["type"], str(found["msg"])), location)


def _message(kind: str, message: str) -> str:
    message = _ECHOING.get(kind) or message.removeprefix("Value error, ")
    if kind == "value_error":  # the email validator quotes characters of the address after the colon
        message = message.split(":", 1)[0] if "email" in message else message
    return message


def _wire(error: FieldError) -> dict[str, str]:
    return {"type": "field", "msg": error.message, "path": error.path, "location": error.location}


def _headers(error: BookingError) -> dict[str, str] | None:
    if isinstance(error, NotAuthenticated):
        return {"WWW-Authenticate": "Bearer"}
    if error.code == "try_again":
        return {"Retry-After": "1"}
    if isinstance(error, TooManyRequests):
        return {"Retry-After": str(error.retry_after)}
    return None


def install(app: FastAPI) -> None:
    """Every error that leaves a route leaves it in the envelope."""

    @app.exception_handler(BookingError)
    async def refused(request: Request, error: BookingError) -> Answer:
        return answer_to(error)

    @app.exception_handler(TimeoutError)
    async def too_slow(request: Request, error: TimeoutError) -> Answer:
        return answer_to(Unavailable())

    @app.exception_handler(RequestValidationError)
    async def not_valid(request: Request, error: RequestValidationError) -> Answer:
        return answer_to(invalid(error))

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> Answer:
        code, sentence = _HTTP_CODES.get(error.status_code, ("http_error", "The request was refused"))
        return refusal(error.status_code, sentence, code, headers=error.headers)


def expected(error: Exception) -> BookingError | None:
    """The refusal an exception means; None for a fault of ours."""
    if isinstance(error, RequestValidationError):
        return invalid(error)
    if isinstance(error, TimeoutError):
        return Unavailable()
    return error if isinstance(error, BookingError) else None


class Shield:
    """ASGI: a fault of ours is logged with its trace and answered with a plain 500."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except BookingError as error:  # raised by a middleware inside this one
            await answer_to(error)(scope, receive, watched)
        except Exception:
            log.exception("unexpected", request_id=scope["state"].get("request_id"))
            if started:
                raise
            await refusal(500, "Something went wrong on our side", "internal_error")(scope, receive, send)
        return None
