"""What a run has read, in a SQLite file beside it: grouped by client without holding it in memory.

It is made anew by each run from the source, so that a killed run loses nothing, and a plan can be exact without a
write to any database (docs/decisions: the target is not used for staging, which would double its writes).
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import bson
from bson import ObjectId
from bson.codec_options import CodecOptions

Document = dict[str, Any]
_CODEC: CodecOptions[Document] = CodecOptions(document_class=dict, tz_aware=True)

_TABLES = """
CREATE TABLE sessions (
  seq INTEGER PRIMARY KEY, client BLOB, session BLOB, expert BLOB, booked INTEGER, starts INTEGER, ends INTEGER,
  occupies INTEGER, priority INTEGER, touched INTEGER, era TEXT, currency TEXT, price TEXT, money_in TEXT,
  order_key TEXT, match_key TEXT, match_other TEXT, old TEXT, facts BLOB, doc BLOB, original BLOB,
  lost INTEGER DEFAULT 0, conflict INTEGER DEFAULT 0);
CREATE TABLE documents (client BLOB, booking BLOB, old TEXT, created INTEGER, updated INTEGER, nested INTEGER,
  facts BLOB);
CREATE TABLE quarantine (id BLOB PRIMARY KEY, reason TEXT, detail TEXT, key TEXT, client BLOB, original BLOB);
CREATE TABLE users (id BLOB PRIMARY KEY, key TEXT, number TEXT, email TEXT, name TEXT, created INTEGER, doc BLOB);
CREATE TABLE experts (id BLOB PRIMARY KEY, key TEXT, user TEXT, number TEXT, email TEXT, name TEXT, doc BLOB);
CREATE TABLE lookups (name TEXT, key TEXT, doc BLOB, PRIMARY KEY (name, key)) WITHOUT ROWID;
CREATE TABLE refs (id TEXT PRIMARY KEY, name TEXT, key TEXT, target TEXT, client BLOB, doc BLOB) WITHOUT ROWID;
"""
_PEOPLE_INDEXES = """
CREATE INDEX IF NOT EXISTS user_key ON users (key);
CREATE INDEX IF NOT EXISTS user_email ON users (email);
CREATE INDEX IF NOT EXISTS expert_key ON experts (key);
CREATE INDEX IF NOT EXISTS expert_user ON experts (user);
CREATE INDEX IF NOT EXISTS expert_email ON experts (email);
CREATE INDEX IF NOT EXISTS expert_number ON experts (number);
"""
_SESSION_INDEXES = """
CREATE INDEX by_client ON sessions (client, booked, session);
CREATE INDEX by_session ON sessions (session);
CREATE INDEX by_expert ON sessions (expert, booked, session) WHERE occupies = 1;
CREATE INDEX documents_by_client ON documents (client);
CREATE INDEX by_old ON sessions (old);
CREATE INDEX documents_by_old ON documents (old);
"""


def encoded(document: Document) -> bytes:
    return bson.encode(document)


def decoded(data: bytes) -> Document:
    return bson.decode(data, _CODEC)


@dataclass(frozen=True, slots=True)
class Scratch:
    """The tables above. ``one``/``all`` answer small questions; :meth:`clients` walks everything."""

    connection: sqlite3.Connection

    @classmethod
    @contextmanager
    def open(cls) -> Iterator["Scratch"]:
        """A scratch file that has no name, in ``TMPDIR``: the system frees it when the run ends, or is killed."""
        connection = sqlite3.connect("", isolation_level=None)
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -8000")
        connection.execute("PRAGMA temp_store = FILE")
        connection.executescript(_TABLES)
        connection.execute("BEGIN")
        try:
            yield cls(connection)
        finally:
            connection.close()

    def index_people(self) -> None:
        self._script(_PEOPLE_INDEXES)

    def index_sessions(self) -> None:
        self._script(_SESSION_INDEXES)

    def _script(self, script: str) -> None:
        for statement in script.strip().split(";"):
            if statement.strip():
                self.connection.execute(statement)

    def add(self, table: str, **values: Any) -> bool:
        """Insert a row; whether it was new."""
        names, places = ", ".join(values), ", ".join("?" * len(values))
        statement = f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({places})"  # noqa: S608
        return self.connection.execute(statement, tuple(values.values())).rowcount == 1

    def one(self, query: str, *values: Any) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self.connection.execute(query, values).fetchone()
        return row

    def all(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        return self.connection.cursor().execute(query, values)

    def by_seq(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """The rows of a query of ``sessions`` that has ``seq`` first, some at a time: its rows may change meanwhile."""
        last = 0
        while rows := self.connection.execute(
            f"{query} AND seq > ? ORDER BY seq LIMIT 1000", (*values, last)
        ).fetchall():
            yield from rows
            last = rows[-1][0]

    def run(self, statement: str, *values: Any) -> int:
        return self.connection.execute(statement, values).rowcount

    def many(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        self.connection.executemany(statement, rows)

    def count(self, query: str, *values: Any) -> int:
        row = self.one(query, *values)
        return int(row[0] or 0) if row else 0

    def client_ids(self) -> Iterator[ObjectId]:
        query = "SELECT client FROM sessions WHERE lost = 0 UNION SELECT client FROM documents ORDER BY 1"
        for (client,) in self.all(query):
            yield ObjectId(client)
