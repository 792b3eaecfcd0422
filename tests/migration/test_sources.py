"""Every kind of source gives the same records; nothing is read whole."""

import csv
import gzip
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from glob import glob
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy
from bson import Decimal128, Int64, ObjectId, json_util

from confiido_booking import Confiido, Invalid, Unavailable
from confiido_booking.migration.samples import Samples
from confiido_booking.migration.sources import MongoSource, Unreadable, open_source
from tests.migration.harness import flat, migrate, verified

DOCUMENTS = [
    flat(price=Decimal128("25.10"), notes="größer"),
    flat(price=24.999999, count=Int64(5)),
    flat(clientId="6897a1000000000000000001"),
]


@pytest.mark.parametrize("options", [json_util.CANONICAL_JSON_OPTIONS, json_util.RELAXED_JSON_OPTIONS])
@pytest.mark.parametrize("shape", ["lines", "array", "pretty", "gzip"])
def test_mongoexports_json_gives_the_types_that_were_stored(
    tmp_path: Path, options: json_util.JSONOptions, shape: str
) -> None:
    texts = [json_util.dumps(document, json_options=options) for document in DOCUMENTS]
    file = tmp_path / ("bookings.json.gz" if shape == "gzip" else "bookings.json")
    if shape == "array":
        file.write_text("[" + ",\n".join(texts) + "]")
    elif shape == "pretty":
        file.write_text("\n".join(json.dumps(json.loads(text), indent=2) for text in texts))
    elif shape == "gzip":
        file.write_bytes(gzip.compress("\n".join(texts).encode()))
    else:
        file.write_text("\n".join(texts) + "\n\n")

    found = list(open_source(str(file)).read("bookings"))

    assert found == DOCUMENTS


def test_a_line_that_cannot_be_read_is_kept_as_it_stands_and_the_next_ones_are_read(tmp_path: Path) -> None:
    file = tmp_path / "bookings.ndjson"
    file.write_text('{"a": 1}\n{"a": \n[1]\n{"a": 2}\n')

    found = list(open_source(str(file)).read("bookings"))

    assert found == [{"a": 1}, Unreadable('{"a":'), Unreadable("[1]"), {"a": 2}]


def test_a_long_number_in_json_stays_exact(tmp_path: Path) -> None:
    file = tmp_path / "bookings.ndjson"
    file.write_text('{"price": 123456789012.123456789}\n')

    assert list(open_source(str(file)).read("bookings")) == [{"price": Decimal("123456789012.123456789")}]


def test_a_file_brings_the_users_and_experts_beside_it_and_nothing_else(tmp_path: Path) -> None:
    for name in ("dump.ndjson", "users.json", "experts.csv", "secrets.json"):
        (tmp_path / name).write_text("{}\n")

    assert open_source(str(tmp_path / "dump.ndjson")).tables() == ["bookings", "experts", "users"]


def test_a_large_array_is_read_in_parts(tmp_path: Path) -> None:
    file = tmp_path / "bookings.json"
    rows = [{"_id": number, "text": "x" * 200} for number in range(12_000)]
    file.write_text(json.dumps(rows))

    source = open_source(str(file)).read("bookings")

    assert next(source) == rows[0]
    assert sum(1 for _ in source) == len(rows) - 1


def test_csv_rows_leave_out_what_is_empty_and_keep_what_is_broken(tmp_path: Path) -> None:
    file = tmp_path / "bookings.csv"
    file.write_text('id,notes,price\n1,,20\n2,"a\nb",30\n3,x,1,too many\n', newline="")

    found = list(open_source(str(file)).read("bookings"))

    assert found[:2] == [{"id": "1", "price": "20"}, {"id": "2", "notes": "a\nb", "price": "30"}]
    assert isinstance(found[2], Unreadable)


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL of this test run's own."""
    where = os.pathsep.join([os.environ.get("PATH", ""), *sorted(glob("/usr/lib/postgresql/*/bin"), reverse=True)])
    tools = {name: shutil.which(name, path=where) for name in ("initdb", "pg_ctl")}
    folder = tmp_path_factory.mktemp("postgresql")
    if not all(tools.values()):
        pytest.skip("PostgreSQL's initdb and pg_ctl are not installed")
    as_owner: dict[str, Any] = {}
    if os.geteuid() == 0:
        try:
            as_owner = {"user": "nobody"}
            for part in (folder, folder.parent, folder.parent.parent):
                part.chmod(0o755)
            shutil.chown(folder, "nobody")
        except (LookupError, PermissionError):
            pytest.skip("PostgreSQL does not run as root, and there is no user nobody")
    made = subprocess.run(
        [str(tools["initdb"]), "-D", str(folder / "data"), "-U", "owner", "-A", "trust"],
        capture_output=True, text=True, **as_owner,
    )  # fmt: skip
    if made.returncode:
        pytest.skip(f"PostgreSQL does not start here: {made.stderr[-200:]}")
    control = [str(tools["pg_ctl"]), "-D", str(folder / "data"), "-w"]
    flags = f"-k {folder} -c listen_addresses='' -c fsync=off"
    started = subprocess.run(
        [*control, "-o", flags, "-l", str(folder / "data" / "log"), "start"], capture_output=True, text=True, **as_owner
    )
    if started.returncode:
        pytest.skip(f"PostgreSQL does not start here: {started.stderr[-200:]}")
    yield f"postgresql+psycopg://owner@/postgres?host={folder}"
    subprocess.run([*control, "-m", "immediate", "stop"], capture_output=True, **as_owner)


@pytest.fixture(params=["sqlite", "postgresql"])
def sql_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        pytest.importorskip("psycopg", reason="no PostgreSQL driver is installed")
        return str(request.getfixturevalue("postgresql"))
    return f"sqlite:///{tmp_path / 'old.db'}"


def test_an_sql_table_is_read_in_the_order_of_its_key(sql_url: str) -> None:
    engine = sqlalchemy.create_engine(sql_url)
    table = sqlalchemy.Table(
        "bookings",
        sqlalchemy.MetaData(),
        sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True),
        sqlalchemy.Column("quote_amount", sqlalchemy.Numeric(10, 2)),
        sqlalchemy.Column("date", sqlalchemy.Date),
        sqlalchemy.Column("notes", sqlalchemy.Text),
    )
    table.create(engine)
    with engine.begin() as connection:
        rows = [
            {"id": n, "quote_amount": Decimal("10.10"), "date": datetime(2025, 9, n, tzinfo=UTC).date()} for n in (3, 1)
        ]
        connection.execute(table.insert(), rows)
    engine.dispose()

    source = open_source(sql_url)
    found = list(source.read("bookings"))

    assert source.count("bookings") == 2
    assert [row["id"] for row in found] == [1, 3]
    assert found[0]["quote_amount"] == Decimal("10.10")
    assert "notes" not in found[0]


async def test_an_sql_system_migrates_and_verifies_with_the_databases_own_types(
    sql_url: str, confiido: Confiido
) -> None:
    engine = sqlalchemy.create_engine(sql_url)
    table = sqlalchemy.Table(
        "bookings",
        sqlalchemy.MetaData(),
        sqlalchemy.Column("id", sqlalchemy.Uuid, primary_key=True),
        sqlalchemy.Column("contactDetails", sqlalchemy.JSON),
        sqlalchemy.Column("finalAmount", sqlalchemy.Numeric(10, 2)),
        sqlalchemy.Column("currency", sqlalchemy.String(3)),
        sqlalchemy.Column("session_date", sqlalchemy.Date),
        sqlalchemy.Column("start_time", sqlalchemy.Time),
        sqlalchemy.Column("end_time", sqlalchemy.Time),
        sqlalchemy.Column("status", sqlalchemy.Text),
        sqlalchemy.Column("created_at", sqlalchemy.DateTime(timezone=True)),
    )
    table.drop(engine, checkfirst=True)
    table.create(engine)
    row = {
        "contactDetails": {"email": "Eve@Example.org", "firstName": "Eve", "lastName": "Ng"},
        "currency": "GBP",
        "session_date": date(2025, 9, 12),
        "start_time": time(9, 0),
        "end_time": time(10, 30),
        "status": "confirmed",
        "created_at": datetime(2025, 8, 1, 10, tzinfo=UTC),
    }
    amounts = [Decimal("75.10"), Decimal("24.90"), Decimal("0.01")]
    with engine.begin() as connection:
        connection.execute(
            table.insert(), [{**row, "id": UUID(int=n), "finalAmount": n_th} for n, n_th in enumerate(amounts)]
        )
    source = open_source(sql_url)

    applied = await migrate(confiido, source, profile="crm", timezone="Europe/London")

    (booking,) = await confiido.store.find("read", "bookings", {})
    session = booking["sessions"][0]
    assert (booking["clientName"], booking["totalSpent"], session["duration"]) == ("Eve Ng", Decimal128("100.01"), 90)
    assert session["startsAt"] == datetime(2025, 9, 12, 8, 0, tzinfo=UTC)
    assert (await verified(confiido, source, applied)).is_sound
    table.drop(engine)
    engine.dispose()


def test_a_source_names_itself_without_its_password() -> None:
    assert open_source("postgresql+psycopg://me:secret@db.example/shop").name == "postgresql+psycopg://db.example/shop"
    assert "secret" not in MongoSource("mongodb://me:secret@db.example/shop").name


def test_what_is_no_source_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    for location in ("/nowhere/at/all", str(tmp_path / "notes.txt"), str(tmp_path)):
        with pytest.raises(Invalid):
            open_source(location)
    with pytest.raises((Invalid, Unavailable)):
        open_source("nosuchdialect://x/y").tables()


def test_the_sample_generator_gives_the_same_for_the_same_seed() -> None:
    def dump(seed: int) -> list[dict[str, Any]]:
        return list(Samples(seed=seed).documents(50))

    assert dump(3) == dump(3)
    assert dump(3) != dump(4)


def test_mongodb_ids_of_several_types_are_all_read(uri: str) -> None:
    from pymongo import MongoClient

    ids: list[Any] = [ObjectId(), "68b61bd7a4c0bf9eaab38ee7", 7]
    with MongoClient(uri) as client:
        client.get_default_database().bookings.insert_many([{"_id": one} for one in ids])
        found = [document["_id"] for document in MongoSource(uri).read("bookings") if isinstance(document, dict)]
        client.drop_database(client.get_default_database().name)

    assert set(found) == set(ids)


def test_csv_and_json_of_the_same_rows_agree(tmp_path: Path) -> None:
    rows = [{"id": "1", "date": "2025-09-12", "time": "9:30 AM"}, {"id": "2", "date": "2025-09-13", "time": "10:00"}]
    with (tmp_path / "bookings.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "date", "time"])
        writer.writeheader()
        writer.writerows(rows)

    assert list(open_source(str(tmp_path / "bookings.csv")).read("bookings")) == rows


@pytest.mark.parametrize("name", ["bookings.csv", "bookings.ndjson", "bookings.json"])
async def test_what_is_not_utf_8_goes_to_the_quarantine_with_every_byte(
    confiido: Confiido, tmp_path: Path, name: str
) -> None:
    documents = [json_util.dumps(flat(notes="J\u00fcrgen", kind=1), ensure_ascii=False), json_util.dumps(flat())]
    texts = {
        "bookings.csv": "_id,notes\n1,J\u00fcrgen\n",
        "bookings.ndjson": "\n".join(documents),
        "bookings.json": f"[{', '.join(documents)}]",
    }
    (tmp_path / name).write_bytes(texts[name].encode("latin-1"))
    source = open_source(str(tmp_path / name))

    applied = await migrate(confiido, source)

    (kept,) = await confiido.store.find("read", "migration_quarantine", {"reason": "unreadable"})
    assert "J\\udcfcrgen" in kept["original"]["text"]
    assert applied.counts["inserted"] == (0 if name == "bookings.csv" else 1)


def test_half_of_an_escaped_pair_is_unreadable_and_kept_as_it_was_written(tmp_path: Path) -> None:
    half, whole = r'{"notes": "\ud83d"}', r'{"notes": "\ud83d\ude00"}'
    for name, text in {"lines.ndjson": f"{half}\n{whole}\n", "array.json": f"[{half}, {whole}]"}.items():
        (tmp_path / name).write_text(text)

        assert list(open_source(str(tmp_path / name)).read("bookings")) == [Unreadable(half), {"notes": "\U0001f600"}]


@pytest.mark.parametrize(
    "damage", [lambda data: data[:60], lambda data: b"no" + data, lambda data: data[:40] + b"x" * 60]
)
def test_a_damaged_gzip_file_is_refused_by_its_name(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    file = tmp_path / "bookings.ndjson.gz"
    file.write_bytes(damage(gzip.compress(json_util.dumps(flat()).encode())))

    with pytest.raises(Invalid, match=r"bookings\.ndjson\.gz is damaged"):
        list(open_source(str(file)).read("bookings"))


def test_a_sqlite_file_that_is_not_there_is_refused_and_not_made(tmp_path: Path) -> None:
    file = tmp_path / "old.db"

    with pytest.raises(Invalid, match="There is no source"):
        open_source(f"sqlite:///{file}").tables()

    assert not file.exists()
