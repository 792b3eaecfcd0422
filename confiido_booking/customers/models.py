"""What is stored of clients as persons: ``users``.

A user is *provisional* from the moment somebody is booked for by e-mail until that person signs in. ``subjects`` are
other ids of the same person, those of tokens and of merged clients: each leads here, and to one user only.
"""

from typing import ClassVar

from beanie import Document
from pydantic import Field
from pymongo import ASCENDING, IndexModel

from confiido_booking.database.documents import STORED, Embedded, Instant
from confiido_booking.ids import Id
from confiido_booking.times import utc_now


class Linking(Embedded):
    """A link that is being made (``linking.py``)."""

    from_: Id = Field(alias="from")
    token: Id
    at: Instant


class User(Document):
    """``_id`` is the clientId. ``emailKey`` is the address as it is compared; ``userId`` a migrated 4-digit number."""

    model_config = STORED

    user_id: str | None = None
    email: str | None = None
    email_key: str | None = None
    name: str | None = None
    phone: str | None = None
    provisional: bool = False
    subjects: list[Id] = Field(default_factory=list)
    linking: list[Linking] = Field(default_factory=list)
    created_at: Instant = Field(default_factory=utc_now)
    updated_at: Instant | None = None

    class Settings:
        name = "users"
        keep_nulls = False
        indexes: ClassVar = [
            IndexModel([("emailKey", ASCENDING)], name="email", sparse=True),
            IndexModel([("subjects", ASCENDING)], name="subject", unique=True, sparse=True),
        ]
