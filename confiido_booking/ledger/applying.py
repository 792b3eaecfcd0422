"""Payments come onto sessions: PROTOCOL's PAYMENT, for one session or several of one client.

The entry is there already. Its sessions are read, what it does to them is decided (``rules.py``), and one update of the
client's document carries that out, whose guard is that each of them still has the version that was read. The update
leaves a posting of the entry on its sessions, also where it does nothing to them: so that whoever decided otherwise
meanwhile, and slept, comes too late. What was posted is then noted on the entry.

A session that was archived is first brought back into its booking (docs/decisions/0030).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from bson import ObjectId

from confiido_booking.actors import Actor, Role
from confiido_booking.billing.ledger import Allocations
from confiido_booking.bookings import guards, merging, placing
from confiido_booking.bookings import rules as booking_rules
from confiido_booking.bookings.archive import Archive
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.guards import Command, fresh_key
from confiido_booking.bookings.transitions import Found, Plan
from confiido_booking.bookings.views import View
from confiido_booking.calendar import claims
from confiido_booking.database.store import Document
from confiido_booking.errors import BookingError, Conflict, Invalid, PreconditionFailed
from confiido_booking.events import outbox
from confiido_booking.ledger import rules
from confiido_booking.ledger.entries import FINISH_AFTER, Entries, actor_of
from confiido_booking.ledger.models import MANUAL, OPENING, Allocation, Entry, EntryKind, EntryState, Place, Target
from confiido_booking.ledger.rules import Effect
from confiido_booking.money import ZERO

ATTEMPTS = 8
CHANGING = "The session is changing; please try again"
_ACTIONS = {EntryKind.PAYMENT: "pay", EntryKind.REFUND: "refund", EntryKind.CHARGEBACK: "chargeback"}


@dataclass(frozen=True, slots=True)
class Located:
    """A client's document, and those sessions in it that an entry is about."""

    document: Document | None
    sessions: list[Document]


@dataclass(frozen=True, slots=True)
class Applying:
    context: Context
    entries: Entries
    invoices: Allocations

    async def apply(self, entry: Entry, *, strict: bool = False, if_version: int | None = None) -> Entry:
        """Place a payment, once; the entry as it then is.

        ``strict``: what is refused is not placed at all, and the entry has failed. Otherwise what cannot be placed is
        unplaced, with the reason.

        Raises:
            BookingError: ``strict``, and refused.
        """
        if entry.applied_at is not None:
            return entry
        if entry.target is None:
            return await self._noted(entry, [], "unknown_payment")
        if entry.target.to is Place.INVOICE:
            return await self._apply_to_invoice(entry, strict=strict)
        at, refusal = await self._posted(entry, strict=strict, if_version=if_version)
        posted = [(each["sessionId"], rules.posting_of(each, entry.id)) for each in at.sessions]
        placed = [Allocation(to=Place.SESSION, id=id_, amount=p.amount) for id_, p in posted if p and p.amount]
        reason = next((p.reason for _, p in posted if p and p.reason), None)
        if strict and not placed:
            await self.entries.change(entry, "refused", state=EntryState.FAILED, reason=reason)
            raise refusal or again(reason)
        return await self._noted(entry, placed, reason or ("overpayment" if placed else "unknown_session"))

    async def _noted(self, entry: Entry, placed: Sequence[Allocation], reason: str) -> Entry:
        rest = entry.amount - sum((each.amount for each in placed), ZERO)
        unplaced = [Allocation(to=Place.UNPLACED, amount=rest, reason=reason)] if rest else []
        return await self.entries.applied(entry, [*placed, *unplaced], state=EntryState.CAPTURED)

    async def _posted(
        self, entry: Entry, *, strict: bool, if_version: int | None = None
    ) -> tuple[Located, BookingError | None]:
        """The entry's sessions once it is posted on them, and why it was refused where it was."""
        refusal: BookingError | None = None
        for _ in range(ATTEMPTS):
            at, now = await self.located(entry), self.context.clock()
            if not at.sessions:
                return at, refusal
            if any(rules.posting_of(each, entry.id) for each in at.sessions):
                await self.follow(at.document, at.sessions)
                return at, refusal
            if await self._expired(at):
                continue
            command = self.command(entry, key=entry.request_key)
            try:
                if strict:
                    check_version(at.sessions[0], if_version)
                    rules.refuse_payment(at.sessions[0], entry.amount, entry.currency, actor_of(entry), now)
                effects = self._effects(entry, at.sessions)
                late = not strict and await self._revived(entry, at)
                if not any(effect.fields.get("paidAmount") for effect in effects):
                    command = self.command(entry, action="unplaced")
            except BookingError as refused:
                refusal, late, command = refused, False, self.command(entry, action="unplaced", key=fresh_key())
                effects = [rules.untouched(at.sessions[0], entry, refused.code)]
            if not late:
                await self.write(at.document, effects, command)
        raise Conflict(CHANGING, code="try_again")

    def _effects(self, entry: Entry, sessions: Sequence[Document]) -> list[Effect]:
        """What the entry does: to its one session, to those of its order, or as its parts were settled on."""
        now, hold, actor = self.context.clock(), self.context.settings.hold, actor_of(entry)
        by_id = {each["sessionId"]: each for each in sessions}
        demands: list[tuple[Sequence[Document], Decimal]] = [(sessions, entry.amount)]
        if entry.parts is not None:
            demands = [([by_id[part.id]], part.amount) for part in entry.parts if part.id in by_id]
        effects = []
        for wanted, amount in demands:
            shares, reason = rules.portions(wanted, amount, entry.currency, actor, now)
            effects += [rules.paid(session, entry, part, now, hold) for session, part in shares]
            if not shares:
                effects.append(rules.untouched(wanted[0], entry, reason or "unknown_session"))
        return effects

    async def _revived(self, entry: Entry, at: Located) -> bool:
        """MONEY, Late payment: the hold lapsed, the price is fully paid now, the start has not passed and the place is
        free: claimed anew and confirmed. A session that a person cancelled never is."""
        session = at.sessions[0]
        late = len(at.sessions) == 1 and rules.is_late(session, entry.amount, entry.currency)
        if not late or at.document is None or "expertId" not in session:
            return False
        command = Command(
            action="revive",
            actor=Actor(role=Role.PAYMENT),
            now=self.context.clock(),
            key=entry.request_key or str(entry.id),
        )

        async def planning(found: Found) -> Plan:
            if rules.posting_of(found.session, entry.id) or not rules.is_late(
                found.session, entry.amount, entry.currency
            ):
                raise Conflict(CHANGING, code="try_again")
            return Plan(to="confirmed", fields=rules.revived(found.session, entry, command.now))

        try:
            await placing.place(self.context, at.document["_id"], session["sessionId"], command, View.HEAD, planning)
        except BookingError as refused:
            if refused.code == "try_again":
                return True  # to be read again
            effects = [rules.untouched(session, entry, refused.code)]
            await self.write(at.document, effects, self.command(entry, action="unplaced"))
        return True

    async def _expired(self, at: Located) -> bool:
        """A lapsed hold is made what it is before anything is decided on it: no decision then rests on a clock."""
        now, expired = self.context.clock(), False
        for session in at.sessions:
            if at.document is not None and booking_rules.is_lapsed(session, now):
                await self.context.healing.expire(at.document["_id"], session["sessionId"], now)
                expired = True
        return expired

    async def _apply_to_invoice(self, entry: Entry, *, strict: bool) -> Entry:
        """A payment of an invoice: its lines' sessions in one update, then the invoice itself."""
        assert entry.target is not None
        invoice_id = entry.target.id
        if entry.parts is None:
            settled_on = await self.entries.change(
                entry,
                "parted",
                fields={"parts": await self._parts(entry)},
                guard={"parts": None},
                due_at=entry.due_at,
            )
            entry = settled_on or await self.entries.get(entry.id) or entry
        parts = entry.parts or []
        placed: list[Allocation] = []
        reason = next((part.reason for part in parts if part.reason), None)
        if any(part.to is Place.SESSION for part in parts):
            at, _ = await self._posted(entry, strict=False)
            for session in at.sessions:
                posting = rules.posting_of(session, entry.id)
                if posting is not None and posting.amount:
                    placed.append(Allocation(to=Place.SESSION, id=session["sessionId"], amount=posting.amount))
                reason = (posting.reason if posting else None) or reason
        refusal: BookingError | None = None
        for part in (part for part in parts if part.to is Place.INVOICE):
            amount, refusal = await self._allocated(entry, part.amount)
            if amount:
                placed.append(Allocation(to=Place.INVOICE, id=invoice_id, amount=amount))
            reason = refusal.code if refusal else reason
        if strict and not placed:
            await self.entries.change(entry, "refused", state=EntryState.FAILED, reason=reason)
            raise refusal or again(reason)
        return await self._noted(entry, placed, reason or "overpayment")

    async def _parts(self, entry: Entry) -> list[Allocation]:
        """What of it goes to each session and to the invoice; a reason alone where nothing does."""
        assert entry.target is not None
        try:
            stated = await self.invoices.statement(entry.target.id)
            if stated.invoice.currency != entry.currency:
                return [Allocation(to=Place.UNPLACED, amount=entry.amount, reason="currency_mismatch")]
            wanted = min(entry.amount, stated.balance.outstanding or entry.amount)
            shares = await self.invoices.parts_of(entry.target.id, wanted)
        except BookingError as refused:
            return [Allocation(to=Place.UNPLACED, amount=entry.amount, reason=refused.code)]
        parts = [
            Allocation(to=Place.SESSION, id=share.session_id, amount=share.amount)
            for share in shares
            if share.session_id is not None
        ]
        own = sum((share.amount for share in shares if share.session_id is None), ZERO)
        return [*parts, *([Allocation(to=Place.INVOICE, id=entry.target.id, amount=own)] if own else [])]

    async def _allocated(self, entry: Entry, amount: Decimal) -> tuple[Decimal, BookingError | None]:
        """Place money on the invoice itself; refused, nothing, and for ever."""
        assert entry.target is not None
        refusal: BookingError | None = None
        for wanted in (amount, ZERO):
            try:
                placed = await self.invoices.allocate(
                    entry.target.id,
                    payment_id=str(entry.id),
                    amount=wanted,
                    at=entry.paid_at or entry.created_at,
                    method=entry.method,
                    reference=entry.reference,
                )
            except (Conflict, Invalid) as refused:
                if refused.code == "try_again":
                    raise
                refusal = refused
            else:
                return placed, refusal
        return ZERO, refusal

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
        """The service sessions say what their sessions say. Done twice it is done once."""
        for session in sessions:
            if document is not None and "serviceSessionId" in session:
                await claims.project(self.context.store, session, document["clientId"])

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
