"""The sessions that entries are about: found, brought back from the archive, accounted for, and written (PROTOCOL)."""

from collections.abc import Sequence
from dataclasses import dataclass

from bson import ObjectId

from confiido_booking.actors import Actor, Role
from confiido_booking.billing.allocating import Allocations
from confiido_booking.bookings import guards, merging
from confiido_booking.bookings.archive import Archive
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.guards import Command
from confiido_booking.calendar import claims
from confiido_booking.database.store import Document
from confiido_booking.errors import BookingError, Conflict, Invalid, PreconditionFailed
from confiido_booking.events import outbox
from confiido_booking.ledger import rules
from confiido_booking.ledger.entries import FINISH_AFTER, Entries, actor_of
from confiido_booking.ledger.models import MANUAL, OPENING, Allocation, Entry, EntryKind, EntryState, Place, Target
from confiido_booking.ledger.rules import Effect
from confiido_booking.orders import following

ATTEMPTS = 8
CHANGING = "The session is changing; please try again"
_ACTIONS = {EntryKind.PAYMENT: "pay", EntryKind.REFUND: "refund", EntryKind.CHARGEBACK: "chargeback"}


@dataclass(frozen=True, slots=True)
class Located:
    """A client's document, and those sessions in it that an entry is about."""

    document: Document | None
    sessions: list[Document]


@dataclass(frozen=True, slots=True)
class Locating:
    context: Context
    entries: Entries

    def command(self, entry: Entry, *, key: str | None = None, action: str | None = None) -> Command:
        """The command that an entry is for its sessions' history."""
        by_provider = entry.kind is EntryKind.PAYMENT and entry.provider not in (MANUAL, OPENING)
        return Command(
            action=action or _ACTIONS[entry.kind],
            actor=Actor(role=Role.PAYMENT) if by_provider else actor_of(entry),
            now=self.context.clock(),
            key=key or str(entry.id),
            reason=entry.reason,
        )

    async def write(self, document: Document | None, effects: Sequence[Effect], command: Command) -> Document | None:
        """Carry a decision out in one update, on exactly the sessions that were read. None = one has changed."""
        assert document is not None
        as_read = [
            {"sessions": {"$elemMatch": {"sessionId": e.session["sessionId"], "version": e.session.get("version")}}}
            for e in effects
        ]
        changed = await self.context.store.find_and_update(
            command.action,
            "bookings",
            {"_id": document["_id"], "$and": as_read, **outbox.room_for_events(guards.MOST_EVENTS * len(effects))},
            [
                stage
                for effect in effects
                for stage in guards.change(effect.session["sessionId"], command, to=effect.to, fields=effect.fields)
            ],
        )
        if changed is not None:
            touched = {effect.session["sessionId"] for effect in effects}
            await self.follow(changed, [each for each in changed["sessions"] if each["sessionId"] in touched])
        return changed

    async def follow(self, document: Document | None, sessions: Sequence[Document]) -> None:
        """The service sessions, the orders and the invoices say what their sessions say. Done twice it is done once."""
        for session in sessions:
            if document is not None and "serviceSessionId" in session:
                await claims.project(self.context.store, session, document["clientId"])
        for order_id in {session["orderId"] for session in sessions if "orderId" in session}:
            await following.follow(self.context.store, order_id, self.context.clock())
        for invoice_id in {each for session in sessions for each in session.get("invoiceIds", [])}:
            await Allocations(self.context).follow(invoice_id)

    async def located(self, entry: Entry) -> Located:
        """The sessions that an entry is for, as :meth:`sessions_of` gives them."""
        return await self.sessions_of(entry.client_id, await self._meant(entry))

    async def _meant(self, entry: Entry) -> list[ObjectId]:
        if entry.target is None:
            return []
        if entry.target.to is Place.SESSION:
            return [entry.target.id]
        if entry.target.to is not Place.ORDER:
            return [part.id for part in entry.parts or [] if part.to is Place.SESSION and part.id is not None]
        store, order = self.context.store, entry.target.id
        columns = {"sessions.sessionId": 1, "sessions.orderId": 1}
        owner = guards.of_client(entry.client_id or ObjectId())
        booking = await store.find_one("read order's sessions", "bookings", owner, columns)
        current = [each["sessionId"] for each in (booking or {}).get("sessions", []) if each.get("orderId") == order]
        query = {"clientId": entry.client_id, "session.orderId": order}
        return [
            *current,
            *(kept["_id"] for kept in await store.find("read archive", "booking_archive", query, {"_id": 1})),
        ]

    async def sessions_of(self, client_id: ObjectId | None, session_ids: Sequence[ObjectId]) -> Located:
        """These sessions of a client, archived ones brought back, and all money on them accounted for."""
        for _ in range(ATTEMPTS if session_ids else 0):
            document = await self._document(client_id, session_ids[0])
            if document is None:
                return Located(None, [])
            sessions = [each for each in document["sessions"] if each["sessionId"] in session_ids]
            missing = set(session_ids) - {each["sessionId"] for each in sessions}
            if missing and await self._restored(document["clientId"], missing):
                continue
            if missing and (owner := await self._owner(min(missing))) not in (None, document["clientId"]):
                client_id = owner
                continue
            if await self._opened(document, sessions):
                continue
            if outbox.is_full(document, guards.MOST_EVENTS * len(sessions)):
                await outbox.deliver(self.context.store, "bookings", document)
            return Located(document, sessions)
        if session_ids:
            raise Conflict(CHANGING, code="try_again")
        return Located(None, [])

    async def _document(self, client_id: ObjectId | None, session_id: ObjectId) -> Document | None:
        """The client's document; that which has the session, where the client is unknown or was merged into another."""
        store = self.context.store
        if client_id is not None:
            found = await store.find_one("read booking", "bookings", guards.of_client(client_id))
            if found is not None:
                return await merging.followed(store, found)
        owner = await self._owner(session_id)
        if owner is None:
            return None
        return await merging.followed(store, await store.find_one("read booking", "bookings", guards.of_client(owner)))

    async def _owner(self, session_id: ObjectId) -> ObjectId | None:
        query, columns = {"listing.sessionId": session_id}, {"listing.clientId": 1}
        listed = await self.context.store.find_one("find session", "service_sessions", query, columns)
        return listed["listing"]["clientId"] if listed else None

    async def _restored(self, client_id: ObjectId, missing: set[ObjectId]) -> bool:
        """Whether anything is to be read anew: what is archived comes back, what is unknown does not."""
        archive, now, known = Archive(self.context.store), self.context.clock(), False
        for session_id in sorted(missing):
            kept = await self.context.store.find_one("read archive", "booking_archive", {"_id": session_id})
            if kept is None or kept["clientId"] != client_id:
                continue
            known = True
            if not await archive.restore(client_id, session_id, now=now):
                await archive.make_room(client_id, guards.weight(kept), now=now, keep=session_id)
        return known

    async def _opened(self, document: Document, sessions: Sequence[Document]) -> bool:
        """Give money that is on a session without an entry one, ``opening``. Whether there was any to account for.

        It changes nothing that anybody sees, so the session keeps its version.
        """
        was_missing = False
        for session in sessions:
            own = [each for each in openings(session, document) if not rules.posting_of(session, each.id)]
            if not own:
                continue
            was_missing = True
            stored = [await self.entries.insert(each) for each in own]
            as_read = {
                "sessionId": session["sessionId"],
                "version": session.get("version"),
                "ledger": session.get("ledger"),
            }
            opened = {"sessions.$.ledger": rules.opened(session, stored), **guards.stamp(self.context.clock())}
            if await self.context.store.update(
                "open ledger",
                "bookings",
                {"_id": document["_id"], "sessions": {"$elemMatch": as_read}},
                {"$set": opened},
            ):
                for entry in stored:
                    await self.opening_noted(entry)
        return was_missing

    async def opening_noted(self, entry: Entry) -> None:
        assert entry.target is not None
        placed = [Allocation(to=Place.SESSION, id=entry.target.id, amount=entry.amount)]
        await self.entries.applied(entry, placed, state=entry.state)


def openings(session: Document, document: Document) -> list[Entry]:
    """The entries that money from before the ledger gets: what was paid, and what of it went back."""
    paid, back = rules.unexplained(session)
    session_id = session["sessionId"]
    paid_id = rules.derived_id(OPENING, session_id)
    wanted = [
        (EntryKind.PAYMENT, EntryState.CAPTURED, paid_id, paid, None),
        (EntryKind.REFUND, EntryState.SETTLED, rules.derived_id(OPENING, "refund", session_id), back, paid_id),
    ]
    at = session.get("paidAt") or session.get("createdTime") or document["createdAt"]
    return [
        Entry(
            id=id_,
            kind=kind,
            state=state,
            provider=OPENING,
            method=session.get("paymentMethod"),
            amount=amount,
            currency=session["currency"],
            client_id=document["clientId"],
            booking_id=document["_id"],
            target=Target(to=Place.SESSION, id=session_id),
            due_at=at + FINISH_AFTER,
            refers=refers,
            actor=Actor.system().stamp(),
            created_at=at,
            paid_at=at,
        )
        for kind, state, id_, amount, refers in wanted
        if amount > 0
    ]


def check_version(session: Document, if_version: int | None) -> None:
    if if_version is not None and session.get("version", 0) != if_version:
        raise PreconditionFailed(details={"version": session.get("version", 0)})


def again(code: str | None) -> BookingError:
    """A refusal that was given before, to whoever asks once more."""
    kind = Invalid if code in ("overpayment", "currency_mismatch") else Conflict
    return kind("This payment was refused", code=code or "conflict")
