"""A small marketplace to call every route of: two experts, two clients, and one session of Ada's in a chosen state.

Ada also has a session with the other expert in the same document, and staff and experts have left notes on both, so
that whoever sees too much is found out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
from bson import ObjectId

from confiido_booking import Actor, Confiido, Expert
from confiido_booking.actors import Role
from confiido_booking.bookings.views import Change
from confiido_booking.catalog.service import ServiceInput
from confiido_booking.database.store import Document
from confiido_booking.orders.reading import OrderView
from tests.builders import Clock, a_client, a_service, an_admin, an_expert, make_expert
from tests.ordering import id_of, offered, package_of

STEPS = {
    "confirmed": ("confirm",),
    "started": ("confirm",),
    "requested": ("confirm", "request-reschedule"),
    "invoiced": ("confirm", "invoice"),
    "paid": ("pay",),
    "cancelled": ("pay", "cancel"),
    "completed": ("confirm", "complete"),
    "no-show": ("confirm", "no-show"),
    "reviewed": ("confirm", "complete", "review"),
}
CALLERS = ("nobody", "client", "other client", "expert", "other expert", "admin", "service")
Raw = dict[str, list[Document]]


@dataclass
class Marketplace:
    """``ids`` fills the braces of a path or a body: ``/api/bookings/{bookingId}``."""

    confiido: Confiido
    clock: Clock
    callers: dict[str, Actor | None]
    grace: Expert
    ken: Expert
    ids: dict[str, str]
    begins: Raw

    async def again(self) -> None:
        """Everything as it was at first."""
        for name in {*self.begins, *await raw(self.confiido)}:
            documents = self.begins.get(name, [])
            if await self.confiido.store.collection(name).find().to_list() != documents:
                await self.confiido.store.collection(name).delete_many({})
                if documents:
                    await self.confiido.store.collection(name).insert_many(documents)

    def filled(self, value: Any) -> Any:
        """The value with every ``{name}`` in its texts replaced by that id."""
        if isinstance(value, dict):
            return {name: self.filled(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.filled(item) for item in value]
        if isinstance(value, str) and "{" in value:
            return value.format_map(self.ids)
        return value


async def raw(confiido: Confiido) -> Raw:
    """Every document of the database, as the store has it."""
    names = await confiido.store.database.list_collection_names()
    found = {name: await confiido.store.collection(name).find().to_list() for name in sorted(names)}
    return {name: documents for name, documents in found.items() if documents}


async def open_marketplace(confiido: Confiido, clock: Clock, state: str = "pending") -> Marketplace:
    """``state`` is of Ada's session with Grace in three hours: pending, lapsed, asked for, quoted, or one of
    :data:`STEPS`."""
    noon = clock() + timedelta(hours=3)
    later = noon + timedelta(hours=2)
    always = [{"dayOfWeek": day, "startTime": "00:00", "endTime": "24:00"} for day in range(7)]
    hours = {"periods": [{"timeSlots": always}], "exceptions": [{"date": "2026-04-01"}]}
    grace = await make_expert(confiido, title="Coach", availability=hours)
    ken = await make_expert(confiido, name="Ken", email="ken@example.org")
    ada, bo, admin = a_client(), a_client(email="bo@example.org", name="Bo"), an_admin()
    mentor = an_expert(grace)
    block = await confiido.calendar.block(mentor, later + timedelta(days=1), later + timedelta(days=2), "Away")
    booked = await (_ask if state in ("asked", "quoted") else _book)(confiido, ada, grace, noon)
    if state == "quoted":
        await confiido.bookings.quote(booked.booking_id, booked.session_id, actor=mentor, amount=Decimal(25))
    booking, session = booked.document["_id"], booked.session_id
    with_ken = (await _book(confiido, ada, ken, later)).session_id
    with_bo = await _book(confiido, bo, ken, noon)
    for action in STEPS.get(state, ()):
        await _do(confiido, clock, action, booking, session, ada, noon)
    if state == "started":
        clock.now = noon + timedelta(minutes=1)
    elif state == "lapsed":
        clock.advance(minutes=31)
    await confiido.store.collection("bookings").update_many(
        {},
        {
            "$set": {
                "abandonedClaims": [ObjectId()],
                "sessions.$[].internalNotes": "said among staff",
                "sessions.$[].expertNotes": "said among experts",
                "sessions.$[].legacy": {"old": True},
            }
        },
    )
    invoice = await confiido.store.collection("invoices").find_one({})
    payment = await confiido.store.collection("payments").find_one({})
    yoga = ServiceInput.model_validate(
        {"service_type": "workshop", "name": "Yoga", "price_cents": 50000, "duration": 60, "max_participants": 25}
    )
    service = await confiido.catalog.create(actor=mentor, service=yoga)
    friday = later + timedelta(days=4)
    (event,) = await confiido.workshops.create(service.id or ObjectId(), actor=mentor, starts_at=friday)
    order = await _order(confiido, ada, grace) if state in ("ordered", "purchased") else None
    if order is not None and state == "purchased":
        await confiido.orders.pay(order.id, actor=admin)
    own = await confiido.experts.get(grace.id or "")
    assert own.availability is not None
    return Marketplace(
        confiido=confiido,
        clock=clock,
        callers={
            "nobody": None,
            "client": ada,
            "other client": bo,
            "expert": mentor,
            "other expert": an_expert(ken),
            "admin": admin,
            "service": a_service(),
        },
        grace=grace,
        ken=ken,
        ids={
            "bookingId": str(booking),
            "sessionId": str(session),
            "with_ken": str(with_ken),
            "bos_booking": str(with_bo.document["_id"]),
            "bos_session": str(with_bo.session_id),
            "ada": str(ada.id),
            "bo": str(bo.id),
            "grace": str(grace.id),
            "number": grace.expert_user_id or "",
            "periodId": str(own.availability.periods[0].id),
            "exceptionId": str(own.availability.exceptions[0].id),
            "blockId": str(block.claim_id),
            "nobody": str(ObjectId()),
            "service": str(service.id),
            "event": str(event.document["_id"]),
            "order": str(order.id if order else None),
            "draft": str(order.sessions[0].session_id if order else None),
            "invoice": str(invoice["_id"] if invoice else None),
            "payment": str(payment["_id"] if payment else None),
        },
        begins=await raw(confiido),
    )


async def _order(confiido: Confiido, client: Actor, expert: Expert) -> OrderView:
    """A bundle of two drafts."""
    talk = await offered(confiido, expert, "individual")
    bundle = await package_of(confiido, expert, (talk, 2), service_type="bundle")
    return await confiido.orders.create(id_of(bundle), actor=client)


async def _book(confiido: Confiido, client: Actor, expert: Expert, starts_at: datetime) -> Change:
    return await confiido.bookings.book(
        actor=client, expert=expert.id or "", session_type="video", duration=30, starts_at=starts_at
    )


async def _ask(confiido: Confiido, client: Actor, expert: Expert, starts_at: datetime) -> Change:
    return await confiido.bookings.request(
        actor=client, expert=expert.id, session_type="video", duration=30, starts_at=starts_at
    )


async def _do(
    confiido: Confiido,
    clock: Clock,
    action: str,
    booking: ObjectId,
    session: ObjectId,
    client: Actor,
    noon: datetime,
) -> None:
    bookings, admin = confiido.bookings, an_admin()
    match action:
        case "confirm":
            await bookings.confirm(booking, session, actor=admin)
        case "complete":
            await bookings.complete(booking, session, actor=admin)
        case "no-show":
            clock.now = noon + timedelta(minutes=1)
            await bookings.no_show(booking, session, actor=admin)
        case "pay":
            await bookings.complete_payment(booking, session, actor=admin)
        case "cancel":
            await bookings.cancel(booking, session, actor=admin)
        case "invoice":
            await confiido.invoices.of_sessions(actor=admin, session_ids=[session])
        case "review":
            await confiido.reviews.write(actor=client, session_id=session, rating=4, comment="Sharp questions")
        case "request-reschedule":
            await bookings.request_reschedule(booking, session, actor=client, starts_at=noon + timedelta(days=7))


NOBODYS_KEYS = {
    "ledger",
    "quoteBytes",
    "dueAt",
    "claimId",
    "eventRev",
    "requestKey",
    "abandonedClaims",
    "revision_id",
    "revisionId",
    "late",
    "_position",
    "busy",
}
STAFFS_KEYS = {"internalNotes", "legacy"}
SUMS = {"totalSessions", "totalSpent", "totals", "archived"}


def parts(value: object, path: str = "") -> Iterator[tuple[str, str, object]]:
    """(where, key, value) of everything in a JSON answer."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield path, key, item
            yield from parts(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from parts(item, f"{path}[]")


def seen_too_much(market: Marketplace, caller: str, answer: httpx.Response) -> list[str]:
    """What this caller was told and may not know (L10), one sentence each."""
    actor = market.callers[caller]
    is_json = answer.headers["content-type"] == "application/json"
    if not is_json or not answer.request.url.path.startswith("/api/"):
        return []
    role = actor.role if actor else None
    hidden = set(NOBODYS_KEYS)
    hidden |= set() if role in (Role.ADMIN, Role.SERVICE) else STAFFS_KEYS
    hidden |= {"expertNotes"} if role is Role.CLIENT else set()
    told = [f"{path}.{key}" for path, key, _ in parts(answer.json()) if key in hidden]
    told += [f"{path}.key" for path, key, _ in parts(answer.json()) if key == "key" and path.endswith(".history[]")]
    told += [f"the claim {claim}" for claim in _claims(market.begins) if claim in answer.text]
    if role is Role.EXPERT:
        own = {str(market.grace.id if caller == "expert" else market.ken.id)}
        sessions = [item for _, key, item in parts(answer.json()) if key == "session"]
        sessions += [each for _, key, item in parts(answer.json()) if key == "sessions" for each in _list(item)]
        told += [f"the session of expert {_expert_of(s)}" for s in sessions if _expert_of(s) not in own]
        told += [f"{path}.{key}" for path, key, _ in parts(answer.json()) if key in SUMS and ".booking" in path]
    return told


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _expert_of(session: Mapping[str, Any]) -> str:
    expert = session["expertId"]
    return str(expert["_id"] if isinstance(expert, dict) else expert)


def _claims(begins: Raw) -> Iterator[str]:
    for booking in begins["bookings"]:
        yield from (str(session["claimId"]) for session in booking["sessions"] if "claimId" in session)
        yield from (str(claim) for claim in booking["abandonedClaims"])
