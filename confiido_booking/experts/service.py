"""Experts: who can be booked, found by any of their three names."""

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Annotated, Literal

from bson import ObjectId
from pydantic import BaseModel, ConfigDict, EmailStr, Field
from pydantic.alias_generators import to_camel

from confiido_booking import money, times
from confiido_booking.actors import Actor, Role
from confiido_booking.bookings.models import CancellationPolicy
from confiido_booking.bookings.statuses import Medium
from confiido_booking.calendar.availability import Availability
from confiido_booking.database.documents import to_mongo
from confiido_booking.database.store import Document, Duplicate, Store
from confiido_booking.errors import Conflict, FieldError, Invalid, NotAllowed, NotFound
from confiido_booking.experts.models import Expert, SessionType
from confiido_booking.ids import Id
from confiido_booking.settings import Settings
from confiido_booking.times import MAX_DURATION, MIN_DURATION, Clock

_IDENTITY_FOR = timedelta(seconds=30)
Text = Annotated[str, Field(max_length=200)]


class _Input(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, arbitrary_types_allowed=True, extra="ignore"
    )


class SessionTypeInput(_Input):
    session_type: Medium
    duration: int = Field(ge=MIN_DURATION, le=MAX_DURATION, strict=True)
    price: money.Money
    currency: str | None = None
    title: Text | None = None


class ExpertInput(_Input):
    """What may be written of an expert; only what is given changes. Buffers, notice in minutes, horizon in days."""

    user_id: Id | None = None
    expert_user_id: Annotated[str, Field(pattern=r"^\d{4}$")] | None = None
    email: EmailStr | None = None
    name: Text | None = None
    title: Text | None = None
    company: Text | None = None
    description: Annotated[str, Field(max_length=5000)] | None = None
    expertise: Annotated[list[Text], Field(max_length=50)] | None = None
    timezone: Annotated[str, Field(max_length=64)] | None = None
    session_types: Annotated[list[SessionTypeInput], Field(max_length=100)] | None = None
    availability: Availability | None = None
    buffer_before: Annotated[int, Field(ge=0, le=1440, strict=True)] | None = None
    buffer_after: Annotated[int, Field(ge=0, le=1440, strict=True)] | None = None
    min_notice: Annotated[int, Field(ge=0, le=525600, strict=True)] | None = None
    horizon: Annotated[int, Field(ge=0, le=3650, strict=True)] | None = None
    payment: Literal["upfront", "later"] | None = None
    cancellation_policy: CancellationPolicy | None = None
    meeting_link: Annotated[str, Field(max_length=2000, pattern=r"^https?://[^\s<>\"]+$")] | None = None
    is_active: bool | None = None


_STAFF_ONLY = {"user_id", "expert_user_id"}


@dataclass(frozen=True, slots=True)
class Price:
    price: Decimal
    currency: str


@dataclass(slots=True)
class Experts:
    """``store`` in, models out. A profile is changed field by field, never saved whole."""

    store: Store
    settings: Settings
    clock: Clock
    _identities: dict[ObjectId, tuple[ObjectId, datetime]] = field(default_factory=dict)

    async def create(self, *, actor: Actor, profile: ExpertInput) -> Expert:
        """A new expert, with an empty calendar.

        Raises:
            NotAllowed: the actor is neither admin nor service.
            Invalid: a wrong zone, currency, price, or a session type offered twice.
            Conflict: ``expert_exists``: the user account has a profile already.
        """
        if not actor.is_staff:
            raise NotAllowed("Only an administrator can create an expert")
        fields = self._fields(profile)
        if "userId" in fields and await self._find({"userId": fields["userId"]}):
            raise Conflict("This user is an expert already", code="expert_exists")
        now = self.clock()
        made: Document = {
            "_id": _id_for(profile.user_id),
            "timezone": self.settings.timezone,
            "createdAt": now,
            "updatedAt": now,
        }
        expert = _expert({**made, **fields})
        with suppress(Duplicate):  # of an earlier try
            await self.store.insert("insert calendar", "calendars", {"_id": made["_id"], "busy": []})
        try:
            await self.store.insert("insert expert", "experts", to_mongo(expert))
        except Duplicate:
            raise Conflict("This expert exists already", code="expert_exists") from None
        return expert

    async def update(self, expert_id: ObjectId, *, actor: Actor, changes: ExpertInput) -> Expert:
        """Change the given fields of a profile. An expert changes the own one, and not whose account it is.

        Raises:
            NotFound: ``expert_not_found``; NotAllowed; Invalid.
        """
        own = actor.role is Role.EXPERT and (await self.identify(actor)).expert_id == expert_id
        if not actor.is_staff and not own:
            raise NotAllowed("Only mentors can change their profile")
        if own and changes.model_fields_set & _STAFF_ONLY:
            raise NotAllowed("userId and expertUserId are set by an administrator")
        fields = self._fields(changes) | {"updatedAt": self.clock()}
        document = await self.store.find_and_update("update expert", "experts", {"_id": expert_id}, {"$set": fields})
        if document is None:
            raise _not_found()
        return _expert(document)

    async def get(self, key: str | ObjectId) -> Expert:
        """By the expert's ``_id``, the user account's ``_id``, or the 4-digit number (SPEC 6).

        Raises:
            NotFound: ``expert_not_found``; also where a 4-digit number is not one expert's alone.
        """
        if isinstance(key, str) and len(key) == 4 and key.isascii() and key.isdigit():
            found = await self._find({"expertUserId": key})
            if len(found) == 1:
                return _expert(found[0])
            raise _not_found()
        if isinstance(key, str):
            if not (len(key) == 24 and ObjectId.is_valid(key)):
                raise _not_found()
            key = ObjectId(key)
        found = await self._find({"$or": [{"_id": key}, {"userId": key}]})
        best = next((document for document in found if document["_id"] == key), None) or next(iter(found), None)
        if best is None:
            raise _not_found()
        return _expert(best)

    async def own(self, actor: Actor) -> Expert:
        """The profile of the acting expert. Raises NotAllowed for anybody else, NotFound where there is none yet."""
        if actor.role is not Role.EXPERT or actor.id is None:
            raise NotAllowed("Only mentors can do this")
        found = await self._find({"userId": actor.id})
        if not found:
            raise _not_found()
        return _expert(found[0])

    async def put_own(self, actor: Actor, changes: ExpertInput) -> Expert:
        """Change the own profile."""
        expert = await self.own(actor)
        assert expert.id is not None
        return await self.update(expert.id, actor=actor, changes=changes)

    async def directory(self) -> list[Expert]:
        """The active experts, at most 1,000, by name."""
        found = await self.store.find("list experts", "experts", {"isActive": True}, sort=[("name", 1)], limit=1000)
        return [_expert(document) for document in found]

    async def many(self, ids: list[ObjectId]) -> dict[ObjectId, Document]:
        """Raw profiles by ``_id``, for lists that show them."""
        found = await self.store.find("read experts", "experts", {"_id": {"$in": ids}}) if ids else []
        return {document["_id"]: document for document in found}

    async def identify(self, actor: Actor) -> Actor:
        """The actor with ``expert_id`` filled in, for an expert who has a profile. Remembered for 30 s."""
        if actor.role is not Role.EXPERT or actor.id is None or actor.expert_id is not None:
            return actor
        now = self.clock()
        known = self._identities.get(actor.id)
        if known is None or not timedelta(0) <= now - known[1] < _IDENTITY_FOR:
            found = await self._find({"userId": actor.id}, {"_id": 1})
            if not found:
                return actor
            if len(self._identities) > 10_000:
                self._identities.clear()
            known = self._identities[actor.id] = (found[0]["_id"], now)
        return actor.as_expert(known[0])

    async def price(self, key: str | ObjectId, *, session_type: str, duration: int) -> Price:
        """What a session of that kind costs. Raises NotFound; Invalid ``session_type_not_offered``."""
        offered = offer(await self.get(key), session_type, duration)
        return Price(offered.price, offered.currency)

    async def _find(self, query: Document, projection: Document | None = None) -> list[Document]:
        return await self.store.find("read expert", "experts", query, projection, limit=2)

    def _fields(self, given: ExpertInput) -> Document:
        """The given fields as stored, with prices exact and zones real."""
        if given.timezone is not None:
            times.zone(given.timezone)
        fields: Document = to_mongo(
            {given.__class__.model_fields[name].alias or name: getattr(given, name) for name in given.model_fields_set}
        )
        if given.session_types is not None:
            offers = [self._offer(index, entry) for index, entry in enumerate(given.session_types)]
            if len({(entry.session_type, entry.duration) for entry in offers}) < len(offers):
                raise Invalid("A session type and duration is offered twice", errors=[_twice()])
            fields["sessionTypes"] = to_mongo(offers)
        return fields

    def _offer(self, index: int, entry: SessionTypeInput) -> SessionType:
        path = f"sessionTypes.{index}"
        code = money.currency(entry.currency or self.settings.currency, field=f"{path}.currency")
        price = money.amount(entry.price, code, field=f"{path}.price")
        return SessionType(
            session_type=entry.session_type, duration=entry.duration, price=price, currency=code, title=entry.title
        )


def offer(expert: Expert, session_type: str, duration: int) -> SessionType:
    """The session type of that kind and length. Raises Invalid ``session_type_not_offered``."""
    for offered in expert.session_types:
        if offered.session_type == session_type and offered.duration == duration:
            return offered
    raise Invalid(
        "Selected session type and duration is not available for this expert", code="session_type_not_offered"
    )


def _id_for(user_id: ObjectId | None) -> ObjectId:
    """The id of a user's profile follows from the user's, so that two creations at once make one."""
    return ObjectId() if user_id is None else ObjectId(sha256(b"expert" + user_id.binary).digest()[:12])


def _expert(document: Document) -> Expert:
    expert: Expert = Expert.model_validate(document)
    return expert


def _twice() -> FieldError:
    return FieldError("sessionTypes", "must name each session type and duration once")


def _not_found() -> NotFound:
    return NotFound("Mentor not found", code="expert_not_found")
