"""Between reading and writing: which records are one session, which of them stands, and who was there first."""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime

from bson import ObjectId

from confiido_booking.migration.coercions import Refusal
from confiido_booking.migration.intake import Reading
from confiido_booking.migration.normalise import digest
from confiido_booking.migration.options import derived_id
from confiido_booking.migration.scratch import decoded, encoded
from confiido_booking.migration.shared import events_to_come

_AT_ONCE = 10_000
Minutes = tuple[int, int, int]  # from, until, and the row of scratch


@dataclass(frozen=True, slots=True)
class Settling:
    reading: Reading

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
            for seq, key in scratch.by_seq(query, one):
                row = scratch.one("SELECT seq FROM sessions WHERE match_key = ? AND lost = 0", f"{other}:{key}")
                if row is not None:
                    self._join(*((seq, row[0]) if one == first else (row[0], seq)))
        query = "SELECT seq, client, starts FROM sessions WHERE era = ? AND lost = 0 AND starts IS NOT NULL"
        for seq, client, starts in scratch.by_seq(query, second):
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
        scratch.run("""CREATE TEMP TABLE duplicates AS SELECT seq, first_value(seq) OVER (PARTITION BY client, session
            ORDER BY priority DESC, touched DESC, seq) AS best FROM sessions WHERE lost = 0 AND session IN
            (SELECT session FROM sessions WHERE lost = 0 GROUP BY client, session HAVING count(*) > 1)""")
        for seq, best in scratch.all("SELECT seq, best FROM duplicates WHERE seq <> best"):
            row = scratch.one("SELECT old, client, original, era FROM sessions WHERE seq = ?", seq)
            assert row is not None
            scratch.run("UPDATE sessions SET lost = ?, occupies = 0 WHERE seq = ?", best, seq)
            identifier = derived_id("quarantine", self.reading.source.name, row[3], row[0], digest(row[2]))
            self.reading.quarantine(identifier, seq, Refusal("duplicate"), row[0], row[1], row[2])

    def _overlaps(self) -> None:
        """HISTORY 11: of two sessions of one expert at one time, the one booked first stands in the calendar; before
        any of them stand the workshops to come."""
        scratch, events = self.reading.scratch, self._events()
        expert: bytes | None = None
        taken: list[Minutes] = []
        lost: list[tuple[int, int]] = []
        count = 0
        conflict = "UPDATE sessions SET conflict = ? WHERE seq = ?"
        query = """SELECT seq, expert, starts, ends FROM sessions WHERE occupies = 1 AND starts IS NOT NULL
            ORDER BY expert, booked, session"""
        for seq, of_expert, starts, ends in scratch.all(query):
            if of_expert != expert:
                expert, taken = of_expert, events.get(of_expert, [])
            winner = _take(taken, (starts, ends, seq))
            if winner is not None:
                lost.append((winner, seq))
                count += 1
            if len(lost) == _AT_ONCE:
                scratch.many(conflict, lost)
                lost.clear()
        scratch.many(conflict, lost)
        if count:
            self.reading.flags["conflict"] += count

    def _events(self) -> dict[bytes, list[Minutes]]:
        """The minutes of workshops to come, by expert; of two at one time the first in the source stands."""
        taken: dict[bytes, list[Minutes]] = {}
        for seq, event in events_to_come(self.reading):
            own = (_ms(event["startsAt"]), _ms(event["endsAt"]), seq)
            winner = _take(taken.setdefault(event["expertId"].binary, []), own)
            if winner is not None:
                self.reading.lost_events.append((winner, event))
        return taken


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _take(taken: list[Minutes], wanted: Minutes) -> int | None:
    """Take the minutes where they are free; else the row of who has them."""
    starts, ends, _ = wanted
    place = bisect_right(taken, wanted)
    before = taken[place - 1] if place else None
    after = taken[place] if place < len(taken) else None
    winner = before if before and before[1] > starts else after if after and after[0] < ends else None
    if winner is None:
        taken.insert(place, wanted)
        return None
    return winner[2]
