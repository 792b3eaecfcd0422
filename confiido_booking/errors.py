"""Every refusal the library can give, as one tree.

    BookingError                   code, a sentence, details
    ├── Invalid                    the input is wrong                        (HTTP 422)
    │   └── Malformed              it cannot even be read                    (400)
    ├── NotAuthenticated           nobody is known to act                    (401)
    ├── NotAllowed                 seen, but not theirs to do                (403)
    ├── NotFound                   not there, or not theirs to see           (404)
    ├── PaymentNotVerified         money was claimed, not shown              (402)
    ├── InvalidSignature           a webhook that nobody we know signed      (400)
    ├── MalformedEvent             a provider's, but not what it documents   (400)
    ├── Conflict                   the state or the place says no            (409)
    │   ├── SlotTaken              next_starts
    │   ├── ClientBusy
    │   └── TransitionRefused      status, action
    ├── PreconditionFailed         the caller's version is stale             (412)
    ├── TooManyRequests            retry_after                               (429)
    └── Unavailable                the store or a provider does not answer   (503)

The library knows no HTTP: ``api/errors.py`` maps each kind to its status. ``code`` is stable and
meant for programs, ``str(error)`` is a sentence for people, ``details`` are facts in JSON's types.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field: ``path`` as the caller wrote it (``sessions.0.startTime``), never its value."""

    path: str
    message: str
    location: str = "body"


class BookingError(Exception):
    """The root: catch this to catch every refusal."""

    code = "error"
    sentence = "The request was refused"

    def __init__(
        self,
        sentence: str | None = None,
        *,
        code: str | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(sentence or self.sentence)
        self.code = code or self.code
        self.details: dict[str, object] = dict(details or {})


class Invalid(BookingError):
    code = "invalid_input"
    sentence = "The input is not valid"

    def __init__(
        self,
        sentence: str | None = None,
        *,
        code: str | None = None,
        details: Mapping[str, object] | None = None,
        errors: Sequence[FieldError] = (),
    ) -> None:
        super().__init__(sentence, code=code, details=details)
        self.errors = tuple(errors)


class Malformed(Invalid):
    code = "malformed_json"
    sentence = "The body is not valid JSON"


class NotAuthenticated(BookingError):
    code = "not_authenticated"
    sentence = "Not authorized to access this route"


class NotAllowed(BookingError):
    code = "not_allowed"
    sentence = "Not authorized to do this"


class NotFound(BookingError):
    code = "not_found"
    sentence = "Not found"


class PaymentNotVerified(BookingError):
    code = "payment_not_verified"
    sentence = "No verified payment exists for this session"


class InvalidSignature(BookingError):
    code = "invalid_signature"
    sentence = "Invalid signature"


class MalformedEvent(BookingError):
    code = "malformed_event"
    sentence = "The event cannot be read"


class Conflict(BookingError):
    code = "conflict"
    sentence = "The current state does not allow this"


class SlotTaken(Conflict):
    """The expert's minutes are taken. ``next_starts``: up to three free starts, aware UTC, ascending."""

    code = "slot_taken"
    sentence = "This time slot is already booked"

    def __init__(self, next_starts: Sequence[datetime] = ()) -> None:
        super().__init__(details={"nextStarts": [iso(start) for start in next_starts]})
        self.next_starts = tuple(next_starts)


class ClientBusy(Conflict):
    code = "client_busy"
    sentence = "You already have a session at this time"


class TransitionRefused(Conflict):
    """SPEC L6: the session's status does not allow the action; ``status`` is the current one."""

    code = "transition_refused"

    def __init__(self, action: str, status: str, sentence: str | None = None, code: str | None = None) -> None:
        super().__init__(sentence or _refused(action, status), code=code, details={"status": status})
        self.action = action
        self.status = status


class PreconditionFailed(BookingError):
    code = "precondition_failed"
    sentence = "The session has changed since it was read"


class TooManyRequests(BookingError):
    code = "rate_limited"
    sentence = "Too many requests, please try again later"

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class Unavailable(BookingError):
    code = "store_unavailable"
    sentence = "Service temporarily unavailable"


def _refused(action: str, status: str) -> str:
    return f"The session is {status} already" if action == status else f"A session that is {status} cannot be {action}"


def iso(moment: datetime) -> str:
    """A UTC instant as the wire has it: ``2025-08-29T07:00:00.000Z``."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def wrong_field(path: str, message: str, code: str | None = None, *, location: str = "body") -> Invalid:
    """The refusal of one field: ``amount``, ``must be above 0``."""
    return Invalid(f"{path} {message}", code=code, errors=[FieldError(path, message, location)])
