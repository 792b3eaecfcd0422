"""Who is who: pure decisions about addresses and users."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from bson import ObjectId
from email_validator import EmailNotValidError, validate_email

from confiido_booking.errors import Conflict, FieldError, Invalid


def address(email: str, *, field: str = "clientEmail") -> str:
    """The address, trimmed, its domain in lower case.

    Raises:
        Invalid: ``invalid_email``.
    """
    try:
        return validate_email(email.strip(), check_deliverability=False).normalized
    except EmailNotValidError:
        raise Invalid(
            f"{field} is not an e-mail address",
            code="invalid_email",
            errors=[FieldError(field, "must be an e-mail address")],
        ) from None


def email_key(email: str) -> str:
    """The form in which two addresses are compared (MONEY): trimmed and casefolded."""
    return email.strip().casefold()


def provisional_id(key: str) -> ObjectId:
    """The id of the provisional user of an address follows from it, so that racing creations make one user, and a
    client whom a migration knew by e-mail alone is met again."""
    return ObjectId(blake2b(f"client-email\x1f{key}".encode(), digest_size=12).digest())


def choose(users: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Of the users of one address: the one who has signed in or was migrated, else the provisional one.

    Raises:
        Conflict: ``several_clients``, where that is more than one person.
    """
    settled = [user for user in users if not user.get("provisional")]
    if len(settled) > 1:
        ids = sorted(str(user["_id"]) for user in settled)
        raise Conflict(
            "Several clients have this e-mail address; name one by clientId",
            code="several_clients",
            details={"clientIds": ids},
        )
    return next(iter(settled or users), None)
