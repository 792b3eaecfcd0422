"""How records enter the scratch: read from the source one by one, kept as sessions, or refused into the quarantine."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import bson
import bson.errors
from bson import Decimal128, ObjectId

from confiido_booking.bookings.guards import MAX_BYTES
from confiido_booking.errors import Invalid
from confiido_booking.migration.coercions import Coercions, Refusal
from confiido_booking.migration.normalise import Normalised, digest
from confiido_booking.migration.options import Options, derived_id
from confiido_booking.migration.profile import Profile, Table
from confiido_booking.migration.scratch import Document, Scratch, encoded
from confiido_booking.migration.sources import Raw, Source, Unreadable, storable


class Progress(Protocol):
    """Told how far a stage has come. ``total``: how far it goes, where that is known."""

    def __call__(self, stage: str, done: int, total: int | None = None) -> None: ...


_STEP = 500
LARGEST = MAX_BYTES // 3  # of one session: beside it there is room for others, and for changes
_EVENT = ("eventId", "eventType", "eventVisibility", "eventMax", "eventStatus", "sequence")
_INSERT = """INSERT INTO sessions (client, session, expert, booked, starts, ends, occupies, priority, touched, era,
  currency, price, order_key, match_key, match_other, old, facts, doc, original)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

# One strange record must not end a run of a million: what no rule foresaw is kept whole in the quarantine.
NOT_UNDERSTOOD = (
    Refusal, Invalid, ValueError, TypeError, ArithmeticError, AttributeError, LookupError, bson.errors.BSONError,
)  # fmt: skip


def refusal_of(error: Exception) -> Refusal:
    return error if isinstance(error, Refusal) else Refusal("not_understood", type(error).__name__)


def no_progress(stage: str, done: int, total: int | None = None) -> None:
    """Nobody watches."""


def ms(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)


@dataclass(slots=True)
class Reading:
    """What was read: the scratch, and counts of it. ``read``: sessions in the source, understood or not.
    ``lost_events``: workshops to come whose minutes an earlier one has, each with the row that stands there."""

    scratch: Scratch
    options: Options
    profile: Profile
    source: Source
    coercions: Coercions
    records: Counter[str] = field(default_factory=Counter)
    eras: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    read: int = 0
    matched: int = 0
    lost_events: list[tuple[int, Document]] = field(default_factory=list)

    def quarantine(
        self, identifier: ObjectId, number: int, refusal: Refusal, key: str, client: bytes | None, original: bytes
    ) -> None:
        """Keep a record that was refused. ``number`` tells it from the very same text elsewhere in one file."""
        row = {"reason": refusal.reason, "detail": refusal.detail, "key": key, "client": client, "original": original}
        if not self.scratch.add("quarantine", id=identifier.binary, **row):
            self.scratch.add("quarantine", id=derived_id("quarantine", identifier, number).binary, **row)


@dataclass(slots=True)
class Intake:
    """The way of every record of one reading. ``present``: the tables that the source has."""

    reading: Reading
    present: set[str]
    progress: Progress
    _batch: list[tuple[Any, ...]] = field(default_factory=list)

    def records(self, table: Table, *, counted: bool = True, readable: bool = True) -> Iterator[Any]:
        if table.name not in self.present:
            return
        done, total = 0, self.reading.source.count(table.name) if counted and self.progress is not no_progress else None
        for done, record in enumerate(self.reading.source.read(table.name), 1):
            if done % _STEP == 0:
                self.progress(table.name, done, total)
            if readable and isinstance(record, Unreadable):
                continue
            yield record
        if counted:
            self.reading.records[table.name] = done
            self.progress(table.name, done, done)

    def keep(
        self,
        done: Normalised,
        era: str,
        priority: int,
        old: Any,
        original: bytes,
        *,
        match_key: str | None = None,
        match_other: str | None = None,
        order: str | None = None,
        facts: Mapping[str, Any] | None = None,
        joined: Mapping[str, Any] | None = None,
    ) -> None:
        """Into the scratch.

        Raises:
            Refusal: ``too_large``.
        """
        client, doc = done.client, done.doc
        if self.reading.options.client is not None and client.id != self.reading.options.client:
            self.reading.read -= 1
            self.reading.eras[era] -= 1
            return
        person: dict[str, Any] = {"number": client.number, "email": client.email, "name": client.name}
        if done.order_total is not None:
            person["orderTotal"] = Decimal128(done.order_total)
        event = {name: facts[name] for name in _EVENT if facts and name in facts}
        if event.get("eventId") is not None:
            person["event"] = storable(event)
        expert = doc.get("expertId")
        stored = encoded(doc)
        if len(stored) > LARGEST:
            raise Refusal("too_large", f"{len(stored)} bytes")
        occupies = int(done.occupies and expert is not None and not _is_shared(event))
        self._batch.append(
            (
                client.id.binary, doc["sessionId"].binary, expert.binary if expert else None, ms(done.booked),
                ms(doc.get("startsAt")), ms(doc.get("endsAt")), occupies, priority,
                ms(doc["updatedTime"]), era, doc["currency"], str(done.price), order, match_key,
                match_other, old_text(old), encoded(person), stored, original,
            )
        )  # fmt: skip
        self.reading.flags.update(doc["legacy"]["flags"])
        if len(self._batch) >= _STEP:
            self.flush()

    def keep_as_it_is(self, client: ObjectId, session: Raw, facts: Raw) -> None:
        """A session that needs no rule: what ``export`` wrote."""
        self._batch.append(
            (
                client.binary, session["sessionId"].binary, None, facts["head"]["position"],
                ms(session.get("startsAt")), ms(session.get("endsAt")), 0, 2, 0, "exported", session["currency"],
                str(session["price"].to_decimal()), None, None, None, "", encoded(facts), encoded(session), b"",
            )
        )  # fmt: skip
        if len(self._batch) >= _STEP:
            self.flush()

    def flush(self) -> None:
        self.reading.scratch.many(_INSERT, self._batch)
        self._batch.clear()

    def refused(
        self,
        table: Table,
        key: Any,
        refusal: Refusal,
        original: Any,
        *,
        client: Mapping[str, Any] | None = None,
        old: str | None = None,
    ) -> None:
        """Into the quarantine. A rerun finds the same record under the same id."""
        reading = self.reading
        if refusal.reason in ("unreadable", "session_not_a_document") and table.shape == "confiido":
            reading.read += 1
            reading.eras["unreadable"] += 1
        number = reading.read if key is None else 0
        own = reading.coercions.object_id((client or {}).get("clientId"))
        if reading.options.client is not None and own != reading.options.client:
            reading.read -= 1
            return
        stood = original_of(original)
        identifier = derived_id("quarantine", reading.source.name, table.name, key, digest(stood), number)
        client_id = own.binary if own else None
        reading.quarantine(identifier, reading.read, refusal, old or old_text(key), client_id, stood)


def original_of(record: Any) -> bytes:
    """A record as it stood; made storable only where BSON cannot hold it."""
    try:
        return encoded({"record": record})
    except (bson.errors.InvalidDocument, bson.errors.InvalidStringData, OverflowError, TypeError, ValueError):
        return encoded({"record": storable(record)})


def _is_shared(event: Mapping[str, Any]) -> bool:
    """A workshop or a class of a course: many sessions, one event, which takes its expert's minutes once."""
    return event.get("eventId") is not None and (
        event.get("eventVisibility") == "public" or event.get("eventType") in ("workshop", "course_session")
    )


def old_text(identifier: Any) -> str:
    """An old id as text; an ObjectId is told from a text of 24 digits by its mark."""
    if isinstance(identifier, ObjectId):
        return f"oid:{identifier}"
    return "" if identifier is None else str(identifier)


def old_id(text: str) -> ObjectId | str:
    """The inverse of :func:`old_text`, as ``legacy_ids`` has it."""
    return ObjectId(text[4:]) if text.startswith("oid:") else text


def lenient_moment(coercions: Coercions, value: Any) -> datetime | None:
    try:
        return coercions.moment(value)
    except Refusal:
        return None
