"""The sessions of the source: documents of every era, what ``export`` wrote, rows of foreign tables."""

from dataclasses import dataclass

from confiido_booking.migration import eras
from confiido_booking.migration.coercions import Refusal
from confiido_booking.migration.intake import (
    NOT_UNDERSTOOD,
    Intake,
    Reading,
    lenient_moment,
    ms,
    old_text,
    original_of,
    refusal_of,
)
from confiido_booking.migration.normalise import Normaliser, digest
from confiido_booking.migration.options import derived_id
from confiido_booking.migration.people import People
from confiido_booking.migration.profile import Table, mapping
from confiido_booking.migration.scratch import decoded, encoded
from confiido_booking.migration.sources import Raw, Unreadable


@dataclass(frozen=True, slots=True)
class SessionReading:
    intake: Intake

    @property
    def reading(self) -> Reading:
        return self.intake.reading

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
            if table.name not in self.intake.present:
                continue
            if table.shape == "confiido":
                self._documents(table, normaliser, people)
            else:
                self._rows(table, normaliser)
        self.intake.flush()

    def _documents(self, table: Table, normaliser: Normaliser, people: People) -> None:
        reading = self.reading
        for document in self.intake.records(table, readable=False):
            if isinstance(document, Unreadable):
                self.intake.refused(table, None, Refusal("unreadable"), document)
                continue
            if eras.EXPORTED in document:
                self._exported(document)
                continue
            if eras.is_nested(document):
                self._booking(table, document, people)
            for part in eras.parts(document, reading.coercions):
                if isinstance(part, str):
                    refusal = Refusal("session_not_a_document")
                    self.intake.refused(table, document.get("_id"), refusal, {"entry": part})
                    continue
                reading.read += 1
                reading.eras[part.era] += 1
                original = original_of(part.raw)
                try:
                    done = normaliser.session(
                        part.facts,
                        raw=part.raw,
                        session_id=part.session_id,
                        fallback=part.fallback,
                        used=eras.KNOWN,
                        said=digest(original),
                    )
                    self.intake.keep(done, part.era, part.priority, part.old_id, original)
                except NOT_UNDERSTOOD as error:
                    self.intake.refused(table, part.old_id, refusal_of(error), part.raw, client=part.facts)

    def _booking(self, table: Table, document: Raw, people: People) -> None:
        """A nested document: its client may have several, and it may hold no session at all."""
        coercions = self.reading.coercions
        try:
            client = people.client(document)
        except NOT_UNDERSTOOD as error:
            if not document["sessions"]:
                self.reading.read += 1
                self.reading.eras["empty"] += 1
                self.intake.refused(table, document.get("_id"), refusal_of(error), document)
            return
        if self.reading.options.client not in (None, client.id):
            return
        self.reading.scratch.add(
            "documents",
            client=client.id.binary,
            booking=eras.booking_id(document, coercions).binary,
            old=old_text(document.get("_id")),
            created=ms(lenient_moment(coercions, document.get("createdAt"))),
            updated=ms(lenient_moment(coercions, document.get("updatedAt"))),
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
        self.reading.read += 1
        self.reading.eras["exported"] += 1
        facts: Raw = {"head": {name: value for name, value in head.items() if name != "keep"}}
        facts |= {name: document.get(name) for name in ("clientUserId", "clientEmail", "clientName")}
        self.intake.keep_as_it_is(document["clientId"], session, facts)

    def _rows(self, table: Table, normaliser: Normaliser) -> None:
        reading = self.reading
        columns = mapping(table, reading.coercions, reading.options.currency)
        used = table.used()
        for row, record in enumerate(self.intake.records(table, readable=False)):
            reading.read += 1
            reading.eras[table.name] += 1
            if isinstance(record, Unreadable):
                self.intake.refused(table, row, Refusal("unreadable"), record)
                continue
            key = reading.coercions.key(record.get(table.key))
            original = original_of(record)
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
                    is_derived=own is None,
                    fallback=old,
                    used=used,
                    said=digest(original_of(joined)) if table.joins else digest(original),
                )
                other = reading.coercions.key(record.get(table.match)) if table.match else None
                order = reading.coercions.key(facts.get("orderId"))
                if order is None and facts.get("parentId") is not None:
                    order = f"parent:{reading.coercions.key(facts['parentId'])}"
                self.intake.keep(
                    done, table.name, 1, own or old, original,
                    match_key=f"{table.name}:{name}", match_other=other, order=order, facts=facts, joined=joined,
                )  # fmt: skip
            except NOT_UNDERSTOOD as error:
                self.intake.refused(table, name, refusal_of(error), record, old=old)

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
