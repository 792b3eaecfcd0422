"""Identifiers: ObjectIds everywhere, and the short reference people read out on the telephone."""

import secrets
from datetime import datetime, timedelta
from typing import Annotated, Any

from bson import ObjectId
from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from confiido_booking.errors import FieldError, Invalid

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: no I, L, O, U


def object_id(value: object, *, field: str = "id", location: str = "body") -> ObjectId:
    """An ObjectId from 24 hexadecimal digits.

    Raises:
        Invalid: ``invalid_id`` for anything else; operators such as ``{"$ne": null}`` never get further.
    """
    if isinstance(value, ObjectId):
        return value
    if isinstance(value, str) and len(value) == 24 and ObjectId.is_valid(value):
        return ObjectId(value)
    raise Invalid(
        f"{field} must be an id of 24 hexadecimal digits",
        code="invalid_id",
        errors=[FieldError(field, "must be an id of 24 hexadecimal digits", location)],
    )


def _coerce(value: Any) -> ObjectId:
    if isinstance(value, ObjectId):
        return value
    if isinstance(value, str) and len(value) == 24 and ObjectId.is_valid(value):
        return ObjectId(value)
    raise ValueError("must be an id of 24 hexadecimal digits")


Id = Annotated[
    ObjectId,
    BeforeValidator(_coerce),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": "^[0-9a-fA-F]{24}$", "examples": ["68b61bd7a4c0bf9eaab38ee7"]}),
]


def new_reference(prefix: str = "CB") -> str:
    """A reference such as ``CB-7K3M9-QX2TP``: 50 random bits, no look-alike letters; ``CB`` a booking, ``CO`` an order.

    Not guarded by a unique index, because no unique index may lack the shard key (DESIGN 4).
    """
    letters = "".join(secrets.choice(_ALPHABET) for _ in range(10))
    return f"{prefix}-{letters[:5]}-{letters[5:]}"


def new_claim_id(now: datetime) -> ObjectId:
    """A claim's id: born at ``now``, random otherwise. Never used twice."""
    return ObjectId(int(now.timestamp()).to_bytes(4) + secrets.token_bytes(8))


def older_than(identifier: ObjectId, age: timedelta, now: datetime) -> bool:
    """Whether an ObjectId was made more than ``age`` ago; claim ids carry their own birth."""
    return identifier.generation_time < now - age
