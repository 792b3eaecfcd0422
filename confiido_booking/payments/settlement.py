"""A provider's settlement as one documented CSV (docs/payments.md), read row by row and kept in a file beside it.

What is wrong with a row is told with its line, and the rest is read on; what is wrong with the file ends it. No line,
however long, and no number of rows is held in memory.
"""

import csv
import re
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import IO

from confiido_booking import money, times
from confiido_booking.errors import Invalid
from confiido_booking.ledger.models import EntryKind
from confiido_booking.payments.provider import ProviderName

COLUMNS = ("provider", "type", "id", "payment_id", "amount", "currency", "at")
_REQUIRED = ("provider", "type", "id", "amount", "currency", "at")
_LONGEST_LINE = 64 * 1024
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}", re.ASCII)
_AMOUNT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TABLE = """
CREATE TABLE rows (
  key TEXT PRIMARY KEY, line INTEGER, provider TEXT, kind TEXT, id TEXT, payment TEXT, amount TEXT, currency TEXT,
  at INTEGER) WITHOUT ROWID;
CREATE INDEX by_line ON rows (line);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row. ``key`` as the ledger names an entry: ``razorpay/pay_…``. ``payment_id``: of a refund, chargeback."""

    line: int
    provider: ProviderName
    kind: EntryKind
    id: str
    payment_id: str | None
    amount: Decimal
    currency: str
    at: datetime

    @property
    def key(self) -> str:
        return f"{self.provider}/{self.id}"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that is none, and why; never what was in it."""

    line: int
    sentence: str


def read(file: IO[str]) -> Iterator[Row | Unreadable]:
    """The rows of an open text file.

    Raises:
        Invalid: ``invalid_settlement``: not UTF-8, no CSV, or without the columns.
    """
    reader = csv.DictReader(_lines(file), strict=True)
    try:
        missing = [name for name in _REQUIRED if name not in (reader.fieldnames or ())]
        if missing:
            raise _invalid(f"The file lacks the columns {', '.join(missing)}")
        for cells in reader:
            try:
                yield _row(reader.line_num, cells)
            except (Invalid, ValueError) as error:
                yield Unreadable(reader.line_num, str(error))
    except UnicodeDecodeError:
        raise _invalid(f"Line {reader.line_num + 1} is not UTF-8") from None
    except csv.Error as error:
        raise _invalid(f"Line {reader.line_num + 1} is no CSV: {error}") from None


def _lines(file: IO[str]) -> Iterator[str]:
    while line := file.readline(_LONGEST_LINE + 1):
        if len(line) > _LONGEST_LINE:
            raise _invalid("A line of the file is too long")
        yield line


def _row(line: int, cells: Mapping[str | None, str | list[str] | None]) -> Row:
    if None in cells or any(cells.get(name) is None for name in _REQUIRED):
        raise ValueError("has not as many cells as the header")
    texts = {name: str(cells.get(name) or "").strip() for name in COLUMNS}
    currency = money.currency(texts["currency"])
    if not _AMOUNT.fullmatch(texts["amount"]):
        raise ValueError("amount must be a plain number in major units")
    for name in ("id", "payment_id"):
        if not _ID.fullmatch(texts[name]) and (texts[name] or name == "id"):
            raise ValueError(f"{name} is not one that a provider gives")
    return Row(
        line=line,
        provider=_word(ProviderName, texts["provider"], "provider"),
        kind=_word(EntryKind, texts["type"], "type"),
        id=texts["id"],
        payment_id=texts["payment_id"] or None,
        amount=money.amount(Decimal(texts["amount"]), currency),
        currency=currency,
        at=_moment(texts["at"]),
    )


def _word[E: (ProviderName, EntryKind)](words: type[E], given: str, name: str) -> E:
    try:
        return words(given.lower())
    except ValueError:
        raise ValueError(f"{name} must be one of {', '.join(words)}") from None


def _moment(given: str) -> datetime:
    if len(given) > 10:
        return times.parse_instant(given, field="at")
    return datetime.combine(times.parse_date(given, field="at"), datetime.min.time(), tzinfo=UTC)


def _invalid(sentence: str) -> Invalid:
    return Invalid(sentence, code="invalid_settlement")


@dataclass(frozen=True, slots=True)
class Statement:
    """The rows of a settlement, on disk, by key and by line."""

    connection: sqlite3.Connection

    @classmethod
    @contextmanager
    def open(cls) -> Iterator["Statement"]:
        """In the folder for temporary files, gone when the block ends."""
        with tempfile.TemporaryDirectory(prefix="confiido-settlement-") as folder:
            connection = sqlite3.connect(Path(folder) / "rows.sqlite", isolation_level=None)
            connection.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {_TABLE} BEGIN;")
            try:
                yield cls(connection)
            finally:
                connection.close()

    def add(self, row: Row) -> bool:
        """False: a row of this provider and id is there already."""
        cells = (
            *(row.key, row.line, row.provider.value, row.kind.value, row.id, row.payment_id, f"{row.amount:f}"),
            *(row.currency, (row.at - _EPOCH) // timedelta(milliseconds=1)),
        )
        statement = "INSERT OR IGNORE INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        return self.connection.execute(statement, cells).rowcount == 1

    def has(self, key: str) -> bool:
        return self.connection.execute("SELECT 1 FROM rows WHERE key = ?", (key,)).fetchone() is not None

    def rows(self) -> Iterator[Row]:
        """In the order of the file."""
        for _, line, provider, kind, id_, payment, amount, currency, at in self.connection.cursor().execute(
            "SELECT * FROM rows ORDER BY line"
        ):
            yield Row(
                line=line,
                provider=ProviderName(provider),
                kind=EntryKind(kind),
                id=id_,
                payment_id=payment,
                amount=Decimal(amount),
                currency=currency,
                at=_EPOCH + timedelta(milliseconds=at),
            )

    def period(self) -> tuple[datetime, datetime] | None:
        """The first and the last instant that a row names."""
        first, last = self.connection.execute("SELECT min(at), max(at) FROM rows").fetchone()
        if first is None:
            return None
        return _EPOCH + timedelta(milliseconds=first), _EPOCH + timedelta(milliseconds=last)

    def providers(self) -> list[str]:
        return [provider for (provider,) in self.connection.execute("SELECT DISTINCT provider FROM rows")]
