"""``confiido migrate plan``: what a run would do, from the whole source, writing nothing anywhere."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from bson import ObjectId

from confiido_booking.migration.assembly import assemble, is_double_booking, is_to_come
from confiido_booking.migration.collecting import few_collections
from confiido_booking.migration.companions import led_to
from confiido_booking.migration.intake import Progress, Reading, no_progress
from confiido_booking.migration.options import Options
from confiido_booking.migration.profile import Profile
from confiido_booking.migration.quarantine import quarantined
from confiido_booking.migration.reading import read
from confiido_booking.migration.rules import FLAGS, REASONS
from confiido_booking.migration.scratch import Scratch, decoded
from confiido_booking.migration.sources import Source

SHOWN = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that applies: its number in docs/migration.md, its stable name, what is done, how often."""

    number: int
    name: str
    sentence: str
    cases: int


@dataclass(frozen=True, slots=True)
class DoubleBooking:
    """Two sessions of one expert at one time. ``session`` was booked later, or is a workshop that came second.
    ``to_come``: a person has to settle it."""

    expert: str
    starts_at: str
    stands: str
    session: str
    to_come: bool


@dataclass(slots=True, kw_only=True)
class Plan:
    source: str
    profile: str
    assumptions: Mapping[str, str]
    tables: Mapping[str, int]
    eras: Mapping[str, int]
    read: int = 0
    sessions: int = 0
    quarantined: int = 0
    matched: int = 0
    clients: int = 0
    clients_merged: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    archived: int = 0
    large_clients: list[tuple[str, int]] = field(default_factory=list)
    price: dict[str, Decimal] = field(default_factory=dict)
    irregularities: list[Finding] = field(default_factory=list)
    refusals: list[Finding] = field(default_factory=list)
    coercions: dict[str, int] = field(default_factory=dict)
    near_duplicates: int = 0
    double_bookings: int = 0
    double_bookings_to_come: int = 0
    doubles: list[DoubleBooking] = field(default_factory=list)
    dangling: int = 0

    def json(self) -> dict[str, Any]:
        """As JSON has it; amounts as text, to the last unit."""
        shown = asdict(replace(self, statuses=Counter()))
        return {
            **shown,
            "statuses": dict(self.statuses),
            "price": {code: str(amount) for code, amount in self.price.items()},
        }


def plan(source: Source, profile: Profile, options: Options, *, progress: Progress = no_progress) -> Plan:
    """Read everything, write nothing."""
    with few_collections(), Scratch.open() as scratch:
        reading = read(scratch, source, profile, options, progress)
        made = Plan(
            source=source.name,
            profile=profile.name,
            assumptions=assumptions(reading),
            tables=dict(reading.records),
            eras=dict(sorted(reading.eras.items())),
            read=reading.read,
            matched=reading.matched,
        )
        flags: Counter[str] = Counter()
        last: ObjectId | None = None
        for number, client_id in enumerate(scratch.client_ids()):
            if options.limit is not None and number >= options.limit:
                break
            client = assemble(scratch, client_id, run_id="plan", as_of=options.as_of)
            made.clients, last = made.clients + 1, client_id
            made.sessions += len(client.sessions)
            made.archived += len(client.history)
            if client.history and len(made.large_clients) < SHOWN:
                made.large_clients.append((str(client.id), len(client.sessions)))
            for session in client.sessions:
                if is_double_booking(session):
                    made.double_bookings += 1
                    made.double_bookings_to_come += is_to_come(session, options.as_of)
                made.statuses[session["status"]] += 1
                flags.update((session.get("legacy") or {}).get("flags", ()))
                currency = session["currency"]
                made.price[currency] = made.price.get(currency, Decimal(0)) + session["price"].to_decimal()
            if number % 200 == 0:
                progress("planned", made.sessions, reading.read)
        _irregularities(reading, flags, last, made)
        _double_bookings(reading, last, made)
        _merges(reading, made)
    return made


def assumptions(reading: Reading) -> dict[str, str]:
    """Every parameter, as it will be applied."""
    options, scratch = reading.options, reading.scratch
    experts = scratch.count("SELECT count(*) FROM experts")
    return {
        "time zone of wall times (--timezone)": options.timezone,
        "currency where none is stored (--currency)": options.currency,
        "a bare $ (--dollar)": options.dollar or "goes to the quarantine",
        "expert where none is named (--expert)": str(options.expert or "none"),
        "past and future are told by (--as-of)": f"{options.as_of:%Y-%m-%d %H:%M:%S} UTC",
        "pending, unpaid, over, without a deadline (--stale-pending)": options.stale_pending,
        "no price (--missing-price)": options.missing_price,
        "experts known": str(experts) if experts else "none: experts' ids are taken as they stand",
        "users known": str(scratch.count("SELECT count(*) FROM users")),
        **{f"{name} (profile)": value for name, value in reading.profile.parameters.items()},
    }


def _irregularities(reading: Reading, flags: Counter[str], last: ObjectId | None, made: Plan) -> None:
    made.irregularities = sorted(
        (Finding(FLAGS[name].number, name, FLAGS[name].sentence, cases) for name, cases in flags.items()),
        key=lambda finding: (finding.number, finding.name),
    )
    which = quarantined(reading, last)
    rows = reading.scratch.all(f"SELECT reason, count(*) FROM quarantine WHERE {which} GROUP BY reason")  # noqa: S608
    made.refusals = sorted(
        (Finding(REASONS[name].number, name, REASONS[name].sentence, cases) for name, cases in rows),
        key=lambda finding: (finding.number, finding.name),
    )
    made.quarantined = sum(finding.cases for finding in made.refusals)
    made.coercions = dict(sorted(reading.coercions.counts.items()))
    near = """SELECT sum(n - 1) FROM (SELECT count(*) AS n FROM sessions WHERE lost = 0 AND starts IS NOT NULL
        GROUP BY client, expert, starts HAVING count(*) > 1)"""
    made.near_duplicates = reading.scratch.count(near)


def _double_bookings(reading: Reading, last: ObjectId | None, made: Plan) -> None:
    """The first of them, those to come before the others; ``last``: the last client of the plan."""
    if last is None:
        return
    as_of = round(reading.options.as_of.timestamp() * 1000)
    made.double_bookings += len(reading.lost_events)
    made.double_bookings_to_come += len(reading.lost_events)
    for seq, event in reading.lost_events[:SHOWN]:
        stands = reading.scratch.one("SELECT session FROM sessions WHERE seq = ?", seq)
        assert stands is not None
        made.doubles.append(_double(event["expertId"], event["startsAt"], stands[0], event["_id"], to_come=True))
    query = """SELECT s.expert, s.starts, w.session, s.session, s.doc FROM sessions s JOIN sessions w
        ON w.seq = s.conflict WHERE s.conflict > 0 AND s.client <= ? ORDER BY s.ends > ? DESC, s.starts, s.session
        LIMIT ?"""
    for expert, starts, stands, session, doc in reading.scratch.all(
        query, last.binary, as_of, SHOWN - len(made.doubles)
    ):
        to_come = is_to_come(decoded(doc), reading.options.as_of)
        moment = _EPOCH + timedelta(milliseconds=starts)
        made.doubles.append(_double(ObjectId(expert), moment, stands, ObjectId(session), to_come=to_come))


def _double(expert: ObjectId, starts_at: datetime, stands: bytes, session: ObjectId, *, to_come: bool) -> DoubleBooking:
    return DoubleBooking(str(expert), f"{starts_at:%Y-%m-%dT%H:%M:00Z}", str(ObjectId(stands)), str(session), to_come)


def _merges(reading: Reading, made: Plan) -> None:
    """Clients whose sessions lie in more than one document of the source today."""
    merged = """SELECT count(*) FROM (SELECT client FROM (
        SELECT client, booking AS source FROM documents
        UNION ALL SELECT client, session FROM sessions WHERE lost = 0 AND priority = 0)
        GROUP BY client HAVING count(*) > 1)"""
    made.clients_merged = reading.scratch.count(merged)
    targets = reading.scratch.all("SELECT target FROM refs WHERE target <> ''")
    made.dangling = sum(led_to(reading, target) is None for (target,) in targets)
