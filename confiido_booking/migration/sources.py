"""Where old data comes from: MongoDB, JSON and NDJSON files, CSV files, any SQL database.

A source has named tables (``bookings``, ``users``, ``experts`` …) and streams each in a stable order, a few records
at a time. It changes nothing; the one exception, migrating in place, is in ``inplace.py``.
"""

import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import urlsplit
from uuid import UUID

from bson import Decimal128, ObjectId, json_util
from bson.codec_options import DatetimeConversion
from bson.errors import BSONError
from pymongo import ASCENDING, MongoClient
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from confiido_booking.errors import Invalid, Unavailable

Raw = dict[str, Any]
FILE_KINDS = (".json", ".ndjson", ".jsonl", ".csv")
BACKUP = "bookings_flat_backup"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A part of a source that is no record; it goes to the quarantine as it stands."""

    text: str


class Source(Protocol):
    """Named tables of records. ``name`` says where from, and never holds a password."""

    name: str

    def tables(self) -> Sequence[str]: ...

    def read(self, table: str) -> Iterator[Raw | Unreadable]:
        """Every record, in an order that is the same at each reading."""
        ...

    def count(self, table: str) -> int | None:
        """How many records, where that is cheap to say."""
        ...


def open_source(location: str, *, in_place: bool = False) -> Source:
    """The source of a MongoDB URI, an SQLAlchemy URL, a file, or a folder of files named after their tables.

    Raises:
        Invalid: ``source_unknown`` for anything else.
    """
    if location.startswith(("mongodb://", "mongodb+srv://")):
        return MongoSource(location, in_place=in_place)
    if "://" in location:
        return SqlSource(location)
    path = Path(location)
    if path.is_dir() or path.is_file():
        return FileSource(path)
    raise Invalid(f"There is no source at {location!r}", code="source_unknown")


@dataclass(slots=True)
class MongoSource:
    """The collections of a database. ``in_place``: the target is the same database, so what was moved aside is read
    as well, and what is migrated already is not."""

    uri: str
    in_place: bool = False
    name: str = field(init=False)
    _database: str = field(init=False)

    def __post_init__(self) -> None:
        parts = parse_uri(self.uri, validate=False, warn=True)
        self._database = parts.get("database") or "confiido"
        hosts = ",".join(f"{host}:{port}" for host, port in parts["nodelist"])
        self.name = f"mongodb://{hosts}/{self._database}"

    def _connect(self) -> MongoClient[Raw]:
        return MongoClient(
            self.uri,
            document_class=dict,
            tz_aware=True,
            serverSelectionTimeoutMS=5000,
            uuidRepresentation="standard",
            datetime_conversion=DatetimeConversion.DATETIME_AUTO.name,
        )

    def tables(self) -> Sequence[str]:
        try:
            with self._connect() as client:
                return sorted(client[self._database].list_collection_names())
        except PyMongoError as error:
            raise Unavailable(f"The source {self.name} does not answer") from error

    def read(self, table: str) -> Iterator[Raw | Unreadable]:
        with self._connect() as client:
            for collection, query in self._parts(table):
                with client[self._database][collection].find(query, batch_size=1000).sort("_id", ASCENDING) as cursor:
                    yield from cursor

    def count(self, table: str) -> int | None:
        with self._connect() as client:
            return sum(
                client[self._database][collection].count_documents(query) for collection, query in self._parts(table)
            )

    def _parts(self, table: str) -> list[tuple[str, Mapping[str, Any]]]:
        if self.in_place and table == "bookings":
            return [(BACKUP, {}), (table, {"schemaVersion": {"$exists": False}})]
        return [(table, {})]


@dataclass(slots=True)
class FileSource:
    """One file, the table ``bookings``, and the files beside it that are named after another table; or a folder."""

    path: Path
    name: str = field(init=False)
    _files: dict[str, Path] = field(init=False)

    def __post_init__(self) -> None:
        self.name = f"file:{self.path.name}"
        folder = self.path if self.path.is_dir() else self.path.parent
        self._files = {_table_name(file): file for file in sorted(folder.iterdir()) if _kind(file) in FILE_KINDS}
        if not self.path.is_dir():
            if _kind(self.path) not in FILE_KINDS:
                raise Invalid(f"{self.path.name} is none of {', '.join(FILE_KINDS)}", code="source_unknown")
            own = _table_name(self.path)
            others = {name: file for name, file in self._files.items() if name in ("users", "experts")}
            self._files = {**others, (own if own in ("bookings", "sessions") else "bookings"): self.path}
        elif not self._files:
            raise Invalid(f"{self.path.name} holds none of {', '.join(FILE_KINDS)}", code="source_unknown")

    def tables(self) -> Sequence[str]:
        return sorted(self._files)

    def count(self, table: str) -> int | None:
        return None

    def read(self, table: str) -> Iterator[Raw | Unreadable]:
        file = self._files[table]
        try:
            with _opened(file) as stream:
                yield from _csv(stream) if _kind(file) == ".csv" else _json(stream)
        except (csv.Error, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise Invalid(f"{file.name} is damaged: {error}", code="source_damaged") from None


def _kind(file: Path) -> str:
    return file.with_suffix("").suffix if file.suffix == ".gz" else file.suffix


def _table_name(file: Path) -> str:
    return file.name.split(".", 1)[0]


def _opened(file: Path) -> IO[str]:
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="")
    return file.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _is_text(text: str) -> bool:
    """Whether it was UTF-8: bytes that are not come as lone surrogates, which no document can hold."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def _csv(stream: IO[str]) -> Iterator[Raw | Unreadable]:
    csv.field_size_limit(_CHUNK * 16)
    for row in csv.DictReader(stream):
        extra = row.pop(None, None)
        line = ",".join([*(value or "" for value in row.values()), *(extra or ())])
        if extra is not None or not _is_text(line + "".join(row)):
            yield Unreadable(line)
        else:
            yield {name: value for name, value in row.items() if value not in (None, "")}


def _hook(document: Raw) -> Any:
    """Extended JSON as its values. The dates of an export, most of its values, are read apart: ``strptime`` is slow."""
    if _WRAPPERS.isdisjoint(document):
        return document
    if len(document) == 1:
        ((kind, value),) = document.items()
        try:
            if kind == "$oid":
                return ObjectId(value) if type(value) is str else document
            if kind == "$date" and type(value) is str and _IN_UTC.fullmatch(value):
                return datetime.fromisoformat(value)
        except (ValueError, BSONError):
            return document
    try:
        return json_util.object_hook(document, _OPTIONS)
    except Exception:  # {"$date": "someday"}: no extended JSON; the coercions will refuse the record
        return document


_OPTIONS = json_util.JSONOptions(tz_aware=True)
_WRAPPERS = frozenset(
    [
        "$oid", "$ref", "$date", "$regex", "$minKey", "$maxKey", "$binary", "$code", "$uuid", "$undefined",
        "$numberLong", "$timestamp", "$numberDecimal", "$dbPointer", "$regularExpression", "$symbol", "$numberInt",
        "$numberDouble",
    ]
)  # fmt: skip
_IN_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z", re.ASCII)
_DECODER = json.JSONDecoder(
    object_hook=_hook, parse_float=lambda digits: float(digits) if len(digits) < 16 else Decimal(digits)
)


def _json(stream: IO[str]) -> Iterator[Raw | Unreadable]:
    """A JSON array, one document a line, or documents one after the other over several lines."""
    head = stream.readline()
    while head and not head.strip():
        head = stream.readline()
    if not head:
        return
    if not head.lstrip().startswith("[") and isinstance(_line(head), dict):
        for line in _chain(head, stream):
            if line.strip():
                yield _line(line)
    else:
        yield from _values(head, stream)


def _chain(head: str, rest: Iterable[str]) -> Iterator[str]:
    yield head
    yield from rest


def _line(text: str) -> Raw | Unreadable:
    try:
        document = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return Unreadable(text.strip())
    return document if isinstance(document, dict) and _holds_text(text, document) else Unreadable(text.strip())


def _holds_text(text: str, document: Raw) -> bool:
    """Whether every text in it is one; half of a pair of ``\\ud83d\\ude00`` is ASCII as long as it is escaped."""
    return _is_text(json.dumps(document, ensure_ascii=False, default=str) if "\\u" in text else text)


def _values(buffer: str, stream: IO[str]) -> Iterator[Raw | Unreadable]:
    position, wanted, ended = 0, _CHUNK, False
    buffer = buffer.lstrip().removeprefix("[")
    while True:
        while position < len(buffer) and buffer[position] in " \t\r\n,]":
            position += 1
        if position < len(buffer):
            try:
                document, end = _DECODER.raw_decode(buffer, position)
                text, position = buffer[position:end], end
                is_one = isinstance(document, dict) and _holds_text(text, document)
                yield document if is_one else Unreadable(text)
                wanted = _CHUNK
                continue
            except (ValueError, RecursionError):
                if ended:
                    yield Unreadable(buffer[position : position + 1000])
                    return
        elif ended:
            return
        more = stream.read(wanted)
        ended, buffer, position, wanted = not more, buffer[position:] + more, 0, wanted * 2


@dataclass(slots=True)
class SqlSource:
    """Any database SQLAlchemy reaches. Rows come ordered by primary key, a thousand at a time."""

    url: str
    name: str = field(init=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        self.name = f"{parts.scheme}://{parts.hostname or ''}{parts.path}"

    def _engine(self) -> Any:
        try:
            import sqlalchemy
        except ModuleNotFoundError:
            raise Invalid("An SQL source needs confiido-booking[sql]", code="source_unknown") from None
        try:
            engine = sqlalchemy.create_engine(self.url)
        except sqlalchemy.exc.ArgumentError as error:
            raise Invalid(f"{self.name} is no SQLAlchemy URL: {error}", code="source_unknown") from None
        except ModuleNotFoundError as error:
            raise Invalid(f"{self.name} needs its driver: {error}", code="source_unknown") from None
        file = engine.url.database if engine.dialect.name == "sqlite" else None
        if file and not file.startswith("file:") and not Path(file).is_file():  # SQLite would make an empty one
            raise Invalid(f"There is no source at {self.name}", code="source_unknown")
        return engine

    def tables(self) -> Sequence[str]:
        engine = self._engine()
        import sqlalchemy

        try:
            names = sqlalchemy.inspect(engine).get_table_names()
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise Unavailable(f"The source {self.name} does not answer") from error
        finally:
            engine.dispose()
        return sorted(names)

    def count(self, table: str) -> int | None:
        engine = self._engine()
        import sqlalchemy

        try:
            with engine.connect() as connection:
                query = sqlalchemy.select(sqlalchemy.func.count()).select_from(sqlalchemy.table(table))
                return int(connection.execute(query).scalar_one())
        finally:
            engine.dispose()

    def read(self, table: str) -> Iterator[Raw | Unreadable]:
        engine = self._engine()
        import sqlalchemy

        try:
            columns = sqlalchemy.Table(table, sqlalchemy.MetaData(), autoload_with=engine)
            order = list(columns.primary_key.columns) or list(columns.columns)
            query = sqlalchemy.select(columns).order_by(*order)
            with (
                engine.connect().execution_options(stream_results=True, yield_per=1000) as connection,
                closing(connection.execute(query)) as rows,
            ):
                for row in rows.mappings():
                    yield {name: value for name, value in row.items() if value is not None}
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise Unavailable(f"The source {self.name} does not answer") from error
        finally:
            engine.dispose()


_AS_THEY_ARE = frozenset({type(None), bool, float, datetime, Decimal128, ObjectId})


def storable(value: Any) -> Any:
    """A record as MongoDB can keep it, for the quarantine: exact, with no operator among its names."""
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, Unreadable):
        return {"text": _written(value.text)}
    if isinstance(value, Mapping):
        names = {_written(str(name)): item for name, item in value.items()}
        return {
            (f"_{name}" if name.startswith("$") else name.replace("\0", "")): storable(item)
            for name, item in names.items()
        }
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return _scalar(value)


def _written(text: str) -> str:
    """A byte that is no UTF-8 is written as its escape, ``\\udcfc`` for FC: none is lost."""
    return text.encode("utf-8", "backslashreplace").decode()


def _scalar(value: Any) -> Any:
    if isinstance(value, Decimal):
        return Decimal128(value) if value.is_finite() else str(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, time | timedelta | UUID):
        return str(value)
    if isinstance(value, str):
        return _written(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value
