"""Who the records speak of, read before them: lookups, users, experts, and users whom only the bookings name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from confiido_booking.migration import eras
from confiido_booking.migration.coercions import Coercions, Refusal, same_email
from confiido_booking.migration.intake import NOT_UNDERSTOOD, Intake, Reading, lenient_moment, ms, refusal_of
from confiido_booking.migration.options import derived_id
from confiido_booking.migration.people import expert_id, user_id
from confiido_booking.migration.profile import Table, mapping
from confiido_booking.migration.scratch import encoded
from confiido_booking.migration.sources import Raw, storable


@dataclass(frozen=True, slots=True)
class PeopleReading:
    intake: Intake

    @property
    def reading(self) -> Reading:
        return self.intake.reading

    def everybody(self) -> None:
        self._lookups()
        for table in self.reading.profile.with_role("users"):
            self._users(table)
        self.reading.scratch.index_people()
        for table in self.reading.profile.with_role("experts"):
            self._experts(table)
        if any(table.shape != "confiido" for table in self.reading.profile.with_role("sessions")):
            self._implied_users()

    def _lookups(self) -> None:
        for table in self.reading.profile.with_role("lookup"):
            for record in self.intake.records(table):
                if (key := self.reading.coercions.key(record.get(table.key))) is not None:
                    self.reading.scratch.add("lookups", name=table.name, key=key, doc=encoded(storable(record)))

    def _users(self, table: Table) -> None:
        coercions, scratch = self.reading.coercions, self.reading.scratch
        for record, facts in self._people(table):
            key, email = facts.get("_id", record.get(table.key)), coercions.email(facts.get("email"))
            own = coercions.object_id(key)
            scratch.add(
                "users",
                id=user_id(key, coercions).binary,
                key=str(own) if own is not None else coercions.key(key),
                number=coercions.text(facts.get("number")),
                email=same_email(email) if email else None,
                name=_name(facts, coercions),
                created=ms(lenient_moment(coercions, facts.get("createdAt"))),
                doc=encoded(storable(_whole(record) or facts)),
            )

    def _experts(self, table: Table) -> None:
        coercions, scratch = self.reading.coercions, self.reading.scratch
        for record, facts in self._people(table):
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
                doc=encoded(storable(_whole(record) or {**facts, "unmapped": _unmapped(record, table)})),
            )

    def _people(self, table: Table) -> Iterator[tuple[Raw, Raw]]:
        """Who somebody is, each with its facts; a record that cannot be read goes to the quarantine like a session."""
        reading = self.reading
        columns = mapping(table, reading.coercions, reading.options.currency)
        for record in self.intake.records(table):
            try:
                facts = columns.facts(record)
                if reading.coercions.key(facts.get("_id", record.get(table.key))) is None:
                    raise Refusal("not_understood", "a record without a key")
                for name in ("userId", "number", "email"):
                    reading.coercions.plain(facts.get(name))
            except NOT_UNDERSTOOD as error:
                reading.read += 1
                reading.eras[f"{table.name}, not understood"] += 1
                self.intake.refused(table, None, refusal_of(error), record)
                continue
            yield record, facts

    def _implied_users(self) -> None:
        """Seed 3.20 ①: users from the distinct e-mails of the bookings; the earliest record gives created_at."""
        coercions, scratch = self.reading.coercions, self.reading.scratch
        for table in self.reading.profile.with_role("sessions"):
            columns = mapping(table, coercions, self.reading.options.currency)
            for record in self.intake.records(table, counted=False):
                try:
                    facts = columns.facts(record)
                    email, key = coercions.email(facts.get("clientEmail")), facts.get("clientId")
                    created = lenient_moment(coercions, facts.get("createdAt"))
                except NOT_UNDERSTOOD:
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


def _whole(record: Raw) -> Raw | None:
    """What ``export`` wrote is taken as it stands."""
    if eras.EXPORTED not in record:
        return None
    return {"whole": {name: value for name, value in record.items() if name != eras.EXPORTED}}


def _name(facts: Mapping[str, Any], coercions: Coercions) -> str | None:
    whole = coercions.text(facts.get("name"))
    parts = [part for name in ("firstName", "lastName") if (part := coercions.text(facts.get(name)))]
    return whole or " ".join(parts) or None


def _unmapped(record: Raw, table: Table) -> Raw:
    used = table.used()
    return {name: value for name, value in record.items() if name not in used and value is not None}
