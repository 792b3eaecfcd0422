"""Profiles: which tables there are, which column means which field, what each word of state means.

The four built-in ones lie beside this file as TOML, and a file of the same form is a profile of one's own
(docs/migration.md). A column is written as

- ``"name"`` or ``"contactDetails.email"``  that column, or a path into a document or a JSON column
- ``["a", "b"]``                             the first that has a value
- ``{join = ["first", "last"]}``             both, with a blank between
- ``{column = "price_cents", as = "cents"}`` through a named coercion: cents, hours, json, lower
- ``{value = "video"}``                      a constant
"""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

from confiido_booking.bookings.statuses import PaymentStatus, SessionStatus
from confiido_booking.errors import Invalid
from confiido_booking.migration.coercions import Coercions, cents, folded

Raw = Mapping[str, Any]
Getter = Callable[[Raw], Any]
BUILT_IN = ("confiido-flat", "bookings-sessions", "crm", "estuary")
PARAMETERS = ("duration", "sessionType", "status")  # what records without such a value have
ROLES = ("sessions", "users", "experts", "references", "lookup")

# What a profile's columns can fill: a session's fields as the old systems know them, and who it belongs to.
FIELDS = frozenset(
    [
        "sessionId",
        "_id",
        "clientId",
        "clientUserId",
        "clientEmail",
        "clientName",
        "clientPhone",
        "expertId",
        "expertUserId",
        "expertEmail",
        "title",
        "sessionType",
        "location",
        "meetingLink",
        "duration",
        "startsAt",
        "endsAt",
        "timezone",
        "scheduledDate",
        "startTime",
        "endTime",
        "status",
        "paymentStatus",
        "price",
        "currency",
        "paid",
        "paidAmount",
        "finalAmount",
        "paidAt",
        "paymentCompletedAt",
        "paymentMethod",
        "refundAmount",
        "quoteAmount",
        "invoiceAmount",
        "invoiceId",
        "addOns",
        "notes",
        "expertNotes",
        "internalNotes",
        "source",
        "referralSource",
        "cancellationReason",
        "cancelledBy",
        "cancellationTime",
        "timeoutAt",
        "timeoutStatus",
        "rescheduleRequest",
        "rescheduleHistory",
        "orderId",
        "groupId",
        "serviceId",
        "eventId",
        "parentId",
        "requestedAt",
        "quotedAt",
        "bookedAt",
        "confirmedAt",
        "completedAt",
        "invoicedAt",
        "createdAt",
        "createdTime",
        "updatedAt",
        "eventType",
        "eventVisibility",
        "eventMax",
        "eventStatus",
        "orderTotal",
        "sequence",
    ]
)
PERSON_FIELDS = frozenset(
    [
        "_id",
        "userId",
        "number",
        "email",
        "name",
        "firstName",
        "lastName",
        "phone",
        "createdAt",
        "timezone",
        "title",
        "sessionTypes",
        "currency",
    ]
)
REFERENCE_FIELDS = frozenset({"_id", "reference", "booking", "session"})


@dataclass(frozen=True, slots=True)
class StatusRule:
    """What a word of state means. ``ended``: the status once the session's end has passed."""

    status: str
    payment: str | None = None
    ended: str | None = None


@dataclass(frozen=True, slots=True)
class Join:
    """Another table's record beside each record, under ``name``."""

    name: str
    table: str
    on: str
    key: str = "id"


@dataclass(frozen=True, slots=True)
class Table:
    """``shape`` ``confiido``: documents of HISTORY's eras, flat, nested or both, which need no columns."""

    name: str
    role: str
    key: str = "id"
    shape: str = "columns"
    columns: Mapping[str, Any] = field(default_factory=dict)
    joins: Sequence[Join] = ()
    match: str | None = None
    kind: str | None = None

    def used(self) -> frozenset[str]:
        """The columns that some field reads; the others are kept under ``legacy.fields``."""
        return frozenset(path.split(".")[0] for spec in self.columns.values() for path in _paths(spec)) | {self.key}


@dataclass(frozen=True, slots=True)
class Profile:
    name: str
    description: str
    tables: Sequence[Table]
    statuses: Mapping[str, StatusRule]
    parameters: Mapping[str, str]

    def table(self, name: str) -> Table | None:
        return next((table for table in self.tables if table.name == name), None)

    def with_role(self, role: str) -> list[Table]:
        return [table for table in self.tables if table.role == role]


def load(name: str) -> Profile:
    """A built-in profile by name, or one's own by the path of its TOML file.

    Raises:
        Invalid: ``profile_unknown``, or ``profile_invalid`` with what is wrong.
    """
    if name in BUILT_IN:
        text = resources.files("confiido_booking.migration").joinpath("profiles", f"{name}.toml").read_text("utf-8")
    elif Path(name).is_file():
        text = Path(name).read_text("utf-8")
    else:
        raise Invalid(f"No profile {name!r}: {', '.join(BUILT_IN)}, or a TOML file", code="profile_unknown")
    try:
        return _profile(tomllib.loads(text), name)
    except tomllib.TOMLDecodeError as error:
        raise _invalid(name, str(error)) from None


def _invalid(name: str, sentence: str) -> Invalid:
    return Invalid(f"The profile {name}: {sentence}", code="profile_invalid")


def _profile(given: Mapping[str, Any], name: str) -> Profile:
    statuses = {folded(word): _status(rule, name) for word, rule in given.get("status", {}).items()}
    tables = [_table(table, spec, name) for table, spec in given.get("tables", {}).items()]
    if not any(table.role == "sessions" for table in tables):
        raise _invalid(name, "no table has the role 'sessions'")
    parameters = {key: str(value) for key, value in given.get("parameters", {}).items()}
    return Profile(given.get("name", Path(name).stem), given.get("description", ""), tables, statuses, parameters)


def _status(rule: Any, name: str) -> StatusRule:
    parts = {"status": rule} if isinstance(rule, str) else rule
    try:
        found = StatusRule(**parts)
    except TypeError:
        raise _invalid(name, f"a status is a word or {{status, payment, ended}}, not {parts}") from None
    if not {found.status, found.ended or found.status} <= set(SessionStatus):
        raise _invalid(name, f"{found.status} is no status; they are {', '.join(SessionStatus)}")
    if found.payment is not None and found.payment not in set(PaymentStatus):
        raise _invalid(name, f"{found.payment} is no payment status; they are {', '.join(PaymentStatus)}")
    return found


def _table(table: str, spec: Mapping[str, Any], name: str) -> Table:
    role = spec.get("role", "sessions")
    if role not in ROLES:
        raise _invalid(name, f"the role of {table} is one of {', '.join(ROLES)}")
    columns = spec.get("columns", {})
    known = {"sessions": FIELDS, "references": REFERENCE_FIELDS}.get(role, PERSON_FIELDS)
    if role != "lookup" and (unknown := sorted(set(columns) - known)):
        raise _invalid(name, f"{table} names {', '.join(unknown)}; the fields are {', '.join(sorted(known))}")
    for column in columns.values():
        if isinstance(column, Mapping) and column.get("as", "json") not in _AS:
            raise _invalid(name, f"{column['as']} is no coercion; they are {', '.join(_AS)}")
    joins = [
        Join(join, part["table"], part["on"], part.get("key", "id")) for join, part in spec.get("joins", {}).items()
    ]
    shape = spec.get("shape", "columns")
    return Table(table, role, spec.get("key", "id"), shape, columns, joins, spec.get("match"), spec.get("kind"))


def _paths(spec: Any) -> list[str]:
    if isinstance(spec, str):
        return [spec]
    if isinstance(spec, list):
        return spec
    return [*spec.get("join", []), *([spec["column"]] if "column" in spec else [])]


@dataclass(frozen=True, slots=True)
class Columns:
    """A table's columns, made ready to run."""

    getters: Sequence[tuple[str, Getter]]

    def facts(self, record: Raw) -> dict[str, Any]:
        """The record under the fields' names; what has no value is left out."""
        found = {}
        for name, get in self.getters:
            value = get(record)
            if value is not None and value != "":
                found[name] = value
        return found


def mapping(table: Table, coercions: Coercions, currency: str) -> Columns:
    return Columns([(name, _getter(spec, coercions, currency)) for name, spec in table.columns.items()])


def _getter(spec: Any, coercions: Coercions, currency: str) -> Getter:
    if isinstance(spec, str):
        return _path(spec, coercions)
    if isinstance(spec, list):
        ways = [_path(part, coercions) for part in spec]
        return lambda record: next((value for way in ways if (value := way(record)) not in (None, "")), None)
    if "value" in spec:
        return lambda record: spec["value"]
    if "join" in spec:
        parts = [_path(part, coercions) for part in spec["join"]]
        return lambda record: " ".join(str(value).strip() for part in parts if (value := part(record))) or None
    get, convert = _path(spec["column"], coercions), _AS[spec.get("as", "json")]

    def converted(record: Raw) -> Any:
        value = get(record)
        if value in (None, ""):
            return None
        coercions.counts[f"as_{spec.get('as', 'json')}"] += 1
        own = record.get(spec["currency"]) if "currency" in spec else None
        return convert(value, coercions.currency(own) or currency, coercions)

    return converted


def _path(path: str, coercions: Coercions) -> Getter:
    if "." not in path:
        return lambda record: record.get(path)
    head, *rest = path.split(".")

    def walk(record: Raw) -> Any:
        value = record.get(path) if path in record else coercions.json(record.get(head))
        if path in record:
            return value
        for part in rest:
            if not isinstance(value, Mapping):
                return None
            value = value.get(part)
        return value

    return walk


_AS: dict[str, Callable[[Any, str, Coercions], Any]] = {
    "cents": lambda value, currency, _: cents(value, currency),
    "hours": lambda value, currency, coercions: (coercions.number(value, "duration_invalid") or Decimal(0)) * 60,
    "json": lambda value, currency, coercions: coercions.json(value),
    "lower": lambda value, currency, _: str(value).strip().casefold(),
}
