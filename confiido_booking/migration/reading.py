"""The first half of every command: read the whole source, make sessions of it, keep them in the scratch."""

import gc
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import bson
import bson.errors
from bson import Decimal128, ObjectId

from confiido_booking import times
from confiido_booking.errors import Invalid
from confiido_booking.migration import eras
from confiido_booking.migration.coercions import Coercions, Refusal, same_email
from confiido_booking.migration.normalise import Normalised, Normaliser, digest
from confiido_booking.migration.options import Options, derived_id
from confiido_booking.migration.people import People, expert_id, user_id
from confiido_booking.migration.profile import Profile, Table, mapping
from confiido_booking.migration.scratch import Scratch, decoded, encoded
from confiido_booking.migration.sources import Raw, Source, Unreadable, storable

Progress = Callable[[str, int], None]
_PROGRESS_STEP = 500
_INSERT = """INSERT INTO sessions (client, session, expert, booked, starts, ends, occupies, priority, touched, era,
  currency, price, order_key, match_key, match_other, old, facts, doc, original)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""


# One strange record must not end a run of a million: what no rule foresaw is kept whole in the quarantine.
_NOT_UNDERSTOOD = (
    Refusal, Invalid, ValueError, TypeError, ArithmeticError, AttributeError, LookupError, bson.errors.BSONError,
)  # fmt: skip


def _refusal(error: Exception) -> Refusal:
    return error if isinstance(error, Refusal) else Refusal("not_understood", type(error).__name__)


def no_progress(stage: str, done: int) -> None:
    """Nobody watches."""


def ms(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)


@dataclass(slots=True)
class Reading:
    """What was read: the scratch, and counts of it. ``read``: sessions in the source, understood or not."""

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


def read(
    scratch: Scratch, source: Source, profile: Profile, options: Options, progress: Progress = no_progress
) -> Reading:
    """Read the source into the scratch.

    Raises:
        Invalid: ``source_empty``: none of the profile's tables of sessions is there.
    """
    coercions = Coercions(times.zone(options.timezone), dollar=options.dollar)
    reading = Reading(scratch, options, profile, source, coercions)
    reader = _Reader(reading, set(source.tables()), progress)
    if not any(table.name in reader.present for table in profile.with_role("sessions")):
        names = " or ".join(table.name for table in profile.with_role("sessions"))
        raise Invalid(f"{source.name} has no table {names}, which {profile.name} reads", code="source_empty")
    with _few_collections():
        reader.lookups()
        reader.people()
        reader.sessions()
        reader.settle()
        reader.references()
    return reading


@contextmanager
def _few_collections() -> Iterator[None]:
    """Records make no cycles, but many objects: looking for cycles after every 700 of them took a third of the time."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@dataclass(slots=True)
class _Reader:
    reading: Reading
    present: set[str]
    progress: Progress
    _batch: list[tuple[Any, ...]] = field(default_factory=list)

    def lookups(self) -> None:
        for table in self.reading.profile.with_role("lookup"):
            for record in self._records(table):
                if (key := self.reading.coercions.key(record.get(table.key))) is not None:
                    self.reading.scratch.add("lookups", name=table.name, key=key, doc=encoded(storable(record)))

    def people(self) -> None:
        for table in self.reading.profile.with_role("users"):
            self._users(table)
        for table in self.reading.profile.with_role("experts"):
            self._experts(table)
        if any(table.shape != "confiido" for table in self.reading.profile.with_role("sessions")):
            self.reading.scratch.index_people()
            self._implied_users()
        self.reading.scratch.index_people()

    def _users(self, table: Table) -> None:
        coercions, scratch = self.reading.coercions, self.reading.scratch
        columns = mapping(table, coercions, self.reading.options.currency)
        for record in self._people(table):
            facts = columns.facts(record)
            key, email = facts.get("_id", record.get(table.key)), coercions.email(facts.get("email"))
            own = coercions.object_id(key)
            scratch.add(
                "users",
                id=user_id(key, coercions).binary,
                key=str(own) if own is not None else coercions.key(key),
                number=coercions.text(facts.get("number")),
                email=same_email(email) if email else None,
                name=_name(facts, coercions),
                created=ms(_lenient_moment(coercions, facts.get("createdAt"))),
                doc=encoded(storable(facts)),
            )

    def _experts(self, table: Table) -> None:
        coercions, scratch = self.reading.coercions, self.reading.scratch
        columns = mapping(table, coercions, self.reading.options.currency)
        for record in self._people(table):
            facts = columns.facts(record)
            key = facts.get("_id", record.get(table.key))
            own, user = coercions.object_id(key), coercions.object_id(facts.get("userId"))
            user_key = str(user) if user is not None else coercions.key(facts.get("userId"))
            account = scratch.one("SELECT number, email, name FROM users WHERE key = ?", user_key)
            email = coercions.email(facts.get("email")) or (account[1] if account else None)
            scratch.add(
                "experts",
                id=expert_id(key, coercions).binary,
                key=str(own) if own is not None else coercions.key(key),
                user=user_key,
                number=coercions.text(facts.get("number")) or (account[0] if account else None),
                email=same_email(email) if email else None,
                name=_name(facts, coercions) or (account[2] if account else None),
                doc=encoded(storable({**facts, "unmapped": _unmapped(record, table)})),
            )

    def _people(self, table: Table) -> Iterator[Raw]:
        """The records that name somebody; one that cannot be read goes to the quarantine like a session."""
        reading = self.reading
        columns = mapping(table, reading.coercions, reading.options.currency)
        for record in self._records(table):
            try:
                facts = columns.facts(record)
                if reading.coercions.key(facts.get("_id", record.get(table.key))) is None:
                    raise Refusal("not_understood", "a record without a key")
                for name in ("userId", "number", "email"):
                    reading.coercions.plain(facts.get(name))
            except _NOT_UNDERSTOOD as error:
                reading.read += 1
                reading.eras[f"{table.name}, not understood"] += 1
                self._refused(table, record, None, _refusal(error), record)
                continue
            yield record

    def _implied_users(self) -> None:
        """Seed 3.20 ①: users from the distinct e-mails of the bookings; the earliest record gives created_at."""
        coercions, scratch = self.reading.coercions, self.reading.scratch
        for table in self.reading.profile.with_role("sessions"):
            columns = mapping(table, coercions, self.reading.options.currency)
            for record in self._records(table, counted=False):
                try:
                    facts = columns.facts(record)
                    email, key = coercions.email(facts.get("clientEmail")), facts.get("clientId")
                    created = _lenient_moment(coercions, facts.get("createdAt"))
                except Refusal:
                    continue
                if email is None:
                    continue
                address = same_email(email)
                if scratch.one("SELECT 1 FROM users WHERE email = ?", address) is not None:
                    scratch.run("UPDATE users SET created = min(created, ?) WHERE email = ?", ms(created), address)
                    continue
                own = coercions.key(key) if key is not None else None
                identifier = user_id(key, coercions) if own is not None else derived_id("client-email", address)
                person = {name: facts.get(name) for name in ("clientName", "clientPhone")}
                scratch.add(
                    "users",
                    id=identifier.binary,
                    key=own if own is not None else f"email:{address}",
                    number=None,
                    email=address,
                    name=coercions.text(facts.get("clientName")),
                    created=ms(created),
                    doc=encoded(
                        storable({"email": email, "name": person["clientName"], "phone": person["clientPhone"]})
                    ),
                )
        coercions.counts.clear()

    def sessions(self) -> None:
        reading = self.reading
        people = People(
            reading.scratch,
            reading.coercions,
            reading.options,
            optional_expert=all(table.shape != "confiido" for table in reading.profile.with_role("sessions")),
            knows_experts=reading.scratch.count("SELECT count(*) FROM experts") > 0,
        )
        normaliser = Normaliser(reading.options, reading.profile, people, reading.coercions, reading.source.name)
        for table in reading.profile.with_role("sessions"):
            if table.name not in self.present:
                continue
            if table.shape == "confiido":
                self._documents(table, normaliser, people)
            else:
                self._rows(table, normaliser)
        self._flush()

    def _documents(self, table: Table, normaliser: Normaliser, people: People) -> None:
        reading = self.reading
        for document in self._records(table, readable=False):
            if isinstance(document, Unreadable):
                self._refused(table, document, None, Refusal("unreadable"), document)
                continue
            if eras.EXPORTED in document:
                self._exported(document)
                continue
            if eras.is_nested(document):
                self._booking(table, document, people)
            for part in eras.parts(document, reading.coercions):
                if isinstance(part, str):
                    self._refused(table, part, document.get("_id"), Refusal("session_not_a_document"), {"entry": part})
                    continue
                reading.read += 1
                reading.eras[part.era] += 1
                original = _original(part.raw)
                try:
                    done = normaliser.session(
                        part.facts,
                        raw=part.raw,
                        session_id=part.session_id,
                        fallback=part.fallback,
                        used=eras.KNOWN,
                        said=digest(original),
                    )
                except _NOT_UNDERSTOOD as error:
                    self._refused(table, part.raw, part.old_id, _refusal(error), part.raw, client=part.facts)
                    continue
                self._keep(done, part.era, part.priority, part.old_id, original)

    def _booking(self, table: Table, document: Raw, people: People) -> None:
        """A nested document: its client may have several, and it may hold no session at all."""
        coercions = self.reading.coercions
        try:
            client = people.client(document)
        except _NOT_UNDERSTOOD as error:
            if not document["sessions"]:
                self.reading.read += 1
                self.reading.eras["empty"] += 1
                self._refused(table, document, document.get("_id"), _refusal(error), document)
            return
        self.reading.scratch.add(
            "documents",
            client=client.id.binary,
            booking=eras.booking_id(document, coercions).binary,
            old=_old(document.get("_id")),
            created=ms(_lenient_moment(coercions, document.get("createdAt"))),
            updated=ms(_lenient_moment(coercions, document.get("updatedAt"))),
            nested=int(not eras.is_flat(document)),
            facts=encoded({"number": client.number, "email": client.email, "name": client.name}),
        )

    def _exported(self, document: Raw) -> None:
        """A row that ``export`` wrote: the session as it stands, and its booking's own fields."""
        head = document[eras.EXPORTED]
        session = {name: value for name, value in document.items() if name not in (eras.EXPORTED, "_id", "clientId")}
        for name in ("clientUserId", "clientEmail", "clientName"):
            session.pop(name, None)
        for name in head.get("keep", ()):
            session[name] = head["keep"][name]
        client = document["clientId"]
        self.reading.read += 1
        self.reading.eras["exported"] += 1
        facts: Raw = {"head": {name: value for name, value in head.items() if name != "keep"}}
        facts |= {name: document.get(name) for name in ("clientUserId", "clientEmail", "clientName")}
        self._batch.append(
            (
                client.binary, session["sessionId"].binary, None, head["position"], ms(session.get("startsAt")),
                ms(session.get("endsAt")), 0, 2, 0, "exported", session["currency"],
                str(session["price"].to_decimal()), None, None, None, "", encoded(facts), encoded(session), b"",
            )
        )  # fmt: skip
        if len(self._batch) >= _PROGRESS_STEP:
            self._flush()

    def _rows(self, table: Table, normaliser: Normaliser) -> None:
        reading = self.reading
        columns = mapping(table, reading.coercions, reading.options.currency)
        used = table.used()
        for row, record in enumerate(self._records(table, readable=False)):
            reading.read += 1
            reading.eras[table.name] += 1
            if isinstance(record, Unreadable):
                self._refused(table, record, row, Refusal("unreadable"), record)
                continue
            key = reading.coercions.key(record.get(table.key))
            original = _original(record)
            name = key if key is not None else digest(original)
            old = f"{table.name}:{name}"
            try:
                joined = self._joined(table, record)
                facts = columns.facts(joined)
                own = reading.coercions.object_id(record.get(table.key))
                done = normaliser.session(
                    {k: v for k, v in facts.items() if k != "_id"},
                    raw={k: v for k, v in joined.items() if k not in {join.name for join in table.joins}},
                    session_id=own or derived_id(normaliser.profile.name, table.name, name),
                    fallback=old,
                    used=used,
                    said=digest(_original(joined)) if table.joins else digest(original),
                )
            except _NOT_UNDERSTOOD as error:
                self._refused(table, record, name, _refusal(error), record, old=old)
                continue
            other = reading.coercions.key(record.get(table.match)) if table.match else None
            order = reading.coercions.key(facts.get("orderId"))
            if order is None and facts.get("parentId") is not None:
                order = f"parent:{reading.coercions.key(facts['parentId'])}"
            self._keep(
                done, table.name, 1, own or old, original,
                match_key=f"{table.name}:{name}", match_other=other, order=order, facts=facts, joined=joined,
            )  # fmt: skip

    def _joined(self, table: Table, record: Raw) -> Raw:
        if not table.joins:
            return record
        joined = dict(record)
        for join in table.joins:
            key = self.reading.coercions.key(record.get(join.on))
            row = key and self.reading.scratch.one(
                "SELECT doc FROM lookups WHERE name = ? AND key = ?", join.table, key
            )
            if row:
                joined[join.name] = decoded(row[0])
        return joined

    def _keep(
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
        occupies = int(done.occupies and expert is not None and not _is_shared(event))
        self._batch.append(
            (
                client.id.binary, doc["sessionId"].binary, expert.binary if expert else None, ms(done.booked),
                ms(doc.get("startsAt")), ms(doc.get("endsAt")), occupies, priority,
                ms(doc["updatedTime"]), era, doc["currency"], str(done.price), order, match_key,
                match_other, _old(old), encoded(person), encoded(doc), original,
            )
        )  # fmt: skip
        self.reading.flags.update(doc["legacy"]["flags"])
        if len(self._batch) >= _PROGRESS_STEP:
            self._flush()

    def _flush(self) -> None:
        self.reading.scratch.many(_INSERT, self._batch)
        self._batch.clear()

    def _refused(
        self,
        table: Table,
        raw: Any,
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
        identifier = derived_id("quarantine", reading.source.name, table.name, key, digest(_original(original)), number)
        added = reading.scratch.add(
            "quarantine",
            id=identifier.binary,
            reason=refusal.reason,
            detail=refusal.detail,
            key=old or _old(key),
            client=own.binary if own else None,
            original=_original(original),
        )
        if not added:  # the very same text twice in one file
            identifier = derived_id("quarantine", identifier, reading.read)
            reading.scratch.add(
                "quarantine",
                id=identifier.binary,
                reason=refusal.reason,
                detail=refusal.detail,
                key=old or _old(key),
                client=own.binary if own else None,
                original=_original(original),
            )

    def settle(self) -> None:
        """Indexes, rows of two tables that are one session, records of the same session."""
        scratch = self.reading.scratch
        scratch.index_sessions()
        self._match()
        self._reused_ids()
        self._lose_duplicates()
        self._overlaps()

    def _match(self) -> None:
        """Seeds 000/001: a booking and a session that name each other, or agree on client, day and time."""
        scratch, tables = self.reading.scratch, [t for t in self.reading.profile.with_role("sessions") if t.match]
        if len(tables) != 2:
            return
        scratch.run("CREATE INDEX IF NOT EXISTS matching ON sessions (match_key)")
        scratch.run("CREATE INDEX by_time ON sessions (client, starts, era)")
        scratch.run("CREATE INDEX by_lost ON sessions (lost)")
        first, second = tables[0].name, tables[1].name
        for one, other in ((first, second), (second, first)):
            query = "SELECT seq, match_other FROM sessions WHERE era = ? AND match_other IS NOT NULL AND lost = 0"
            for seq, key in list(scratch.all(query, one)):
                row = scratch.one("SELECT seq FROM sessions WHERE match_key = ? AND lost = 0", f"{other}:{key}")
                if row is not None:
                    self._join(*((seq, row[0]) if one == first else (row[0], seq)))
        query = (
            "SELECT seq, client, starts FROM sessions WHERE era = ? AND lost = 0 AND starts IS NOT NULL ORDER BY seq"
        )
        for seq, client, starts in list(scratch.all(query, second)):
            row = scratch.one(
                "SELECT seq FROM sessions WHERE client = ? AND starts = ? AND era = ? AND lost = 0 "
                "AND NOT EXISTS (SELECT 1 FROM sessions m WHERE m.lost = sessions.seq) ORDER BY seq",
                client, starts, first,
            )  # fmt: skip
            if row is not None:
                self._join(row[0], seq)

    def _join(self, kept: int, lost: int) -> None:
        """The row of the first table stands; what it lacks comes from the other one."""
        scratch = self.reading.scratch
        rows = [scratch.one("SELECT doc, old FROM sessions WHERE seq = ?", seq) for seq in (kept, lost)]
        assert rows[0] is not None
        assert rows[1] is not None
        doc, other = decoded(rows[0][0]), decoded(rows[1][0])
        legacy = {**other["legacy"], **doc["legacy"]}
        legacy["digest"] = digest(doc["legacy"]["digest"] + other["legacy"]["digest"])
        legacy["matched"] = rows[1][1]
        merged = {**other, **doc, "legacy": legacy}
        old = "\n".join(part for part in (rows[0][1], rows[1][1]) if part)
        scratch.run("UPDATE sessions SET doc = ?, old = ? WHERE seq = ?", encoded(merged), old, kept)
        scratch.run("UPDATE sessions SET lost = ?, occupies = 0 WHERE seq = ?", kept, lost)
        self.reading.matched += 1

    def _reused_ids(self) -> None:
        """One sessionId in the documents of two clients: the later one gets a derived id."""
        scratch = self.reading.scratch
        shared = "SELECT session FROM sessions WHERE lost = 0 GROUP BY session HAVING count(DISTINCT client) > 1"
        for (session,) in list(scratch.all(shared)):
            rows = list(
                scratch.all("SELECT seq, client, doc FROM sessions WHERE session = ? ORDER BY booked, seq", session)
            )
            for seq, client, doc in rows:
                if client == rows[0][1]:
                    continue
                changed = decoded(doc)
                new = derived_id("reused", ObjectId(session), ObjectId(client))
                changed["sessionId"], changed["_id"] = new, ObjectId(session)
                changed["serviceSessionId"] = derived_id("service-session", new)
                changed["legacy"]["flags"].append("session_id_reused")
                self.reading.flags["session_id_reused"] += 1
                scratch.run("UPDATE sessions SET session = ?, doc = ? WHERE seq = ?", new.binary, encoded(changed), seq)

    def _lose_duplicates(self) -> None:
        """HISTORY 13: of several records of one session the newest state stands, the others go to the quarantine."""
        scratch = self.reading.scratch
        ranked = """SELECT seq, first_value(seq) OVER (PARTITION BY client, session
            ORDER BY priority DESC, touched DESC, seq) AS best FROM sessions WHERE lost = 0 AND session IN
            (SELECT session FROM sessions WHERE lost = 0 GROUP BY client, session HAVING count(*) > 1)"""
        for seq, best in [row for row in scratch.all(ranked) if row[0] != row[1]]:
            row = scratch.one("SELECT old, client, original, era FROM sessions WHERE seq = ?", seq)
            assert row is not None
            scratch.run("UPDATE sessions SET lost = ?, occupies = 0 WHERE seq = ?", best, seq)
            identifier = derived_id("quarantine", self.reading.source.name, row[3], row[0], digest(row[2]))
            if not scratch.add(
                "quarantine",
                id=identifier.binary,
                reason="duplicate",
                detail="",
                key=row[0],
                client=row[1],
                original=row[2],
            ):
                scratch.add(
                    "quarantine",
                    id=derived_id("quarantine", identifier, seq).binary,
                    reason="duplicate",
                    detail="",
                    key=row[0],
                    client=row[1],
                    original=row[2],
                )  # fmt: skip

    def _overlaps(self) -> None:
        """HISTORY 11: of two sessions of one expert at one time, the one booked first stands in the calendar."""
        scratch = self.reading.scratch
        expert: bytes | None = None
        taken: list[tuple[int, int, int]] = []
        lost: list[tuple[int, int]] = []
        query = """SELECT seq, expert, starts, ends FROM sessions WHERE occupies = 1 AND starts IS NOT NULL
            ORDER BY expert, booked, session"""
        for seq, of_expert, starts, ends in scratch.all(query):
            if of_expert != expert:
                expert, taken = of_expert, []
            place = bisect_right(taken, (starts, ends, seq))
            before = taken[place - 1] if place else None
            after = taken[place] if place < len(taken) else None
            winner = before if before and before[1] > starts else after if after and after[0] < ends else None
            if winner is None:
                taken.insert(place, (starts, ends, seq))
            else:
                lost.append((winner[2], seq))
        scratch.many("UPDATE sessions SET conflict = ? WHERE seq = ?", lost)
        if lost:
            self.reading.flags["conflict"] += len(lost)

    def references(self) -> None:
        """Reviews, invoices, messages: each with the session it speaks of, resolved when it is written."""
        reading = self.reading
        for table in reading.profile.with_role("references"):
            columns = mapping(table, reading.coercions, reading.options.currency)
            for row, record in enumerate(self._records(table)):
                facts = columns.facts(record)
                key = reading.coercions.key(record.get(table.key)) or str(row)
                own = reading.coercions.object_id(record.get(table.key))
                targets = []
                for name in ("session", "booking", "reference"):
                    if name in facts:
                        prefix = "" if name == "reference" else f"{name}s:"
                        targets.append(_old(reading.coercions.object_id(facts[name])) or f"{prefix}{facts[name]}")
                reading.scratch.add(
                    "refs",
                    id=f"{table.name}:{key}",
                    name=table.kind or table.name,
                    key=_old(own) if own else f"{table.name}:{key}",
                    target="\n".join(targets),
                    doc=encoded(storable(record)),
                )

    def _records(self, table: Table, *, counted: bool = True, readable: bool = True) -> Iterator[Any]:
        if table.name not in self.present:
            return
        done = 0
        for done, record in enumerate(self.reading.source.read(table.name), 1):
            if done % _PROGRESS_STEP == 0:
                self.progress(table.name, done)
            if readable and isinstance(record, Unreadable):
                continue
            yield record
        if counted:
            self.reading.records[table.name] = done
            self.progress(table.name, done)


_EVENT = ("eventId", "eventType", "eventVisibility", "eventMax", "eventStatus", "sequence")


def _original(record: Any) -> bytes:
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


def _old(identifier: Any) -> str:
    """An old id as text; an ObjectId is told from a text of 24 digits by its mark."""
    if isinstance(identifier, ObjectId):
        return f"oid:{identifier}"
    return "" if identifier is None else str(identifier)


def old_id(text: str) -> ObjectId | str:
    """The inverse of :func:`_old`, as ``legacy_ids`` has it."""
    return ObjectId(text[4:]) if text.startswith("oid:") else text


def _name(facts: Mapping[str, Any], coercions: Coercions) -> str | None:
    whole = coercions.text(facts.get("name"))
    parts = [part for name in ("firstName", "lastName") if (part := coercions.text(facts.get(name)))]
    return whole or " ".join(parts) or None


def _lenient_moment(coercions: Coercions, value: Any) -> datetime | None:
    try:
        return coercions.moment(value)
    except Refusal:
        return None


def _unmapped(record: Raw, table: Table) -> Raw:
    used = table.used()
    return {name: value for name, value in record.items() if name not in used and value is not None}


def money_in(reading: Reading) -> dict[str, Decimal]:
    """Σ price per currency of every session that was understood and is no duplicate."""
    sums: dict[str, Decimal] = {}
    for currency, price in reading.scratch.all("SELECT currency, price FROM sessions WHERE lost = 0"):
        sums[currency] = sums.get(currency, Decimal(0)) + Decimal(price)
    return sums
