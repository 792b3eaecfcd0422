"""A small world to race in: two experts, two clients, and at most one session of the first client to begin with."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from bson import ObjectId

from confiido_booking import Actor, Confiido, Expert
from confiido_booking.bookings.archive import Archive
from confiido_booking.bookings.views import Change
from confiido_booking.database.store import Document
from tests.builders import MONDAY, Clock, a_client, an_admin, make_expert
from tests.processes import Snapshot

NOON = MONDAY + timedelta(hours=3)
OVERLAPPING = NOON + timedelta(minutes=15)
LATER = NOON + timedelta(hours=2)
STARTS = (
    *("nothing", "an empty booking", "pending", "confirmed", "paid", "completed", "lapsed", "started", "ended"),
    *("requested", "old", "archived", "asked", "quoted"),
)


@dataclass
class World:
    """``start`` names what Ada has at :data:`NOON` with the first expert; :meth:`again` goes back to it."""

    confiido: Confiido
    clock: Clock
    expert: Expert
    other_expert: Expert
    ada: Actor
    bo: Actor
    admin: Actor
    booking_id: ObjectId
    session_id: ObjectId
    snapshot: Snapshot
    begins: datetime

    async def again(self) -> None:
        """Everything as it was at the start."""
        await self.snapshot.restore(self.confiido)
        self.clock.now = self.begins

    async def book(
        self,
        confiido: Confiido,
        client: Actor,
        starts_at: datetime,
        *,
        expert: Expert | None = None,
        key: str | None = None,
    ) -> Change:
        return await confiido.bookings.book(
            actor=client,
            expert=(expert or self.expert).id or "",
            session_type="video",
            duration=30,
            starts_at=starts_at,
            request_key=key,
        )

    async def ask(self, confiido: Confiido, client: Actor, starts_at: datetime, *, key: str | None = None) -> Change:
        return await confiido.bookings.request(
            actor=client,
            expert=self.expert.id,
            session_type="video",
            duration=30,
            starts_at=starts_at,
            request_key=key,
        )

    async def do(self, confiido: Confiido, action: str, *, key: str | None = None, by: Actor | None = None) -> object:
        """One command on Ada's session; ``by`` an admin where nobody is named."""
        bookings, ids, actor = confiido.bookings, (self.booking_id, self.session_id), by or self.admin
        match action:
            case "confirm":
                return await bookings.confirm(*ids, actor=actor, request_key=key)
            case "cancel":
                return await bookings.cancel(*ids, actor=actor, request_key=key)
            case "complete":
                return await bookings.complete(*ids, actor=actor, request_key=key)
            case "no-show":
                return await bookings.no_show(*ids, actor=actor, request_key=key)
            case "undo":
                return await bookings.undo(*ids, actor=actor, reason="A mistake", request_key=key)
            case "expire":
                return await bookings.expire(*ids, actor=actor, request_key=key)
            case "pay":
                return await bookings.complete_payment(*ids, actor=actor, request_key=key)
            case "patch":
                return await bookings.patch(*ids, actor=actor, changes={"notes": "Bring tea"}, request_key=key)
            case "approve":
                return await bookings.respond_reschedule(*ids, actor=actor, approve=True, request_key=key)
            case "ask":
                return await self.ask(confiido, self.ada, NOON, key=key)
            case "quote":
                return await bookings.quote(*ids, actor=actor, amount=Decimal(25), request_key=key)
            case "accept":
                return await bookings.accept(*ids, actor=self.ada, request_key=key)
            case "book":
                return await bookings.book_requested(*ids, actor=actor, request_key=key)
            case "decline":
                return await bookings.decline(*ids, actor=actor, request_key=key)
            case "request":
                return await bookings.request_reschedule(*ids, actor=self.ada, starts_at=LATER, request_key=key)
            case "archive":
                return await Archive(confiido.store).client(
                    self.ada.id or ObjectId(), now=self.clock(), older_than=timedelta(0)
                )
        raise ValueError(action)

    async def move(self, confiido: Confiido, starts_at: datetime, *, key: str | None = None) -> Change:
        return await confiido.bookings.reschedule(
            self.booking_id, self.session_id, actor=self.admin, starts_at=starts_at, request_key=key
        )

    async def merge(self, confiido: Confiido) -> Document:
        """All of Ada's becomes Bo's."""
        assert self.ada.id is not None
        assert self.bo.id is not None
        return await confiido.customers.merge(self.bo.id, from_=self.ada.id, actor=self.admin)

    async def sessions(self) -> list[Document]:
        """Every session in the bookings, raw."""
        bookings = await self.confiido.store.collection("bookings").find().to_list()
        return [session for booking in bookings for session in booking["sessions"]]

    async def session(self) -> Document:
        """Ada's first session, raw, current or archived."""
        found = next((s for s in await self.sessions() if s["sessionId"] == self.session_id), None)
        if found is not None:
            return found
        kept = await self.confiido.store.collection("booking_archive").find_one({"_id": self.session_id})
        assert kept is not None
        session: Document = kept["session"]
        return session

    async def keys(self) -> set[str]:
        """The keys of all commands that have left an effect."""
        archived = await self.confiido.store.collection("booking_archive").find().to_list()
        sessions = [*await self.sessions(), *(copy["session"] for copy in archived)]
        return {entry["key"] for session in sessions for entry in session["history"] if "key" in entry}

    async def claims(self) -> list[Document]:
        calendars = await self.confiido.store.collection("calendars").find().to_list()
        return [claim for calendar in calendars for claim in calendar["busy"]]


Builder = Callable[[str], Awaitable[World]]


async def build_world(confiido: Confiido, clock: Clock, start: str) -> World:
    """A world with this start; one of :data:`STARTS`."""
    expert = await make_expert(confiido, buffer_before=10, buffer_after=5)
    other = await make_expert(confiido)
    world = World(
        confiido=confiido,
        clock=clock,
        expert=expert,
        other_expert=other,
        ada=a_client(),
        bo=a_client(email="bo@example.org", name="Bo"),
        admin=an_admin(),
        booking_id=ObjectId(),
        session_id=ObjectId(),
        snapshot=Snapshot({}),
        begins=clock.now,
    )
    if start != "nothing":
        begin = world.ask if start in ("asked", "quoted") else world.book
        booked = await begin(confiido, world.ada, NOON)
        world.booking_id, world.session_id = booked.document["_id"], booked.session_id
        await _lead_to(world, start)
    world.begins = clock.now
    world.snapshot = await Snapshot.take(confiido)
    return world


async def _lead_to(world: World, start: str) -> None:
    confiido, clock = world.confiido, world.clock
    for action in {
        "quoted": ("quote",),
        "confirmed": ("confirm",),
        "paid": ("pay",),
        "completed": ("confirm", "complete"),
        "started": ("confirm",),
        "ended": ("confirm", "complete"),
        "requested": ("confirm", "request"),
        "old": ("pay", "complete"),
        "archived": ("pay", "complete"),
    }.get(start, ()):
        await world.do(confiido, action)
    if start == "an empty booking":
        await world.do(confiido, "cancel")
        await confiido.store.collection("service_sessions").delete_many({})
        await confiido.store.collection("bookings").update_one(
            {"_id": world.booking_id}, {"$set": {"sessions": [], "totals": {}, "totalSessions": 0}}
        )
    if start == "lapsed":
        clock.advance(minutes=31)
    elif start == "started":
        clock.now = NOON + timedelta(minutes=1)
    elif start == "ended":
        clock.now = NOON + timedelta(hours=1)
    elif start == "old":
        clock.now = NOON + timedelta(days=40)
    elif start == "archived":
        clock.now = NOON + timedelta(days=40)
        await world.do(confiido, "archive")
        await world.book(confiido, world.ada, clock.now + timedelta(hours=3))
        clock.advance(minutes=1)
    else:
        clock.advance(minutes=1)  # what came before is no longer young
