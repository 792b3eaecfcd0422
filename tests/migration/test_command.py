"""``confiido migrate`` as a person calls it: what it prints, and how it ends."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bson import json_util
from pymongo import MongoClient

from confiido_booking.cli import main
from confiido_booking.migration.samples import Samples
from tests.migration.harness import AS_OF, flat

WHEN = f"{AS_OF:%Y-%m-%dT%H:%M:%SZ}"


@pytest.fixture
def dump(tmp_path: Path) -> str:
    folder = tmp_path / "old"
    folder.mkdir()
    rows = Samples(seed=4, experts_count=4).documents(12)
    (folder / "bookings.ndjson").write_text("".join(json_util.dumps(row) + "\n" for row in rows))
    return str(folder)


def called(*arguments: str) -> int:
    try:
        main(["migrate", *arguments])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


def test_a_plan_needs_no_database_and_writes_json_and_html(dump: str, tmp_path: Path) -> None:
    files = tmp_path / "plan.json", tmp_path / "plan.html"

    code = called("plan", "--source", dump, "--as-of", WHEN, "--json", str(files[0]), "--html", str(files[1]))

    assert code == 0
    plan = json.loads(files[0].read_text())
    assert plan["read"] == plan["sessions"] + plan["quarantined"]
    assert "Assumptions" in files[1].read_text()
    assert "http" not in files[1].read_text().replace("<!doctype html>", "")


def test_apply_verify_status_export_and_rollback_end_with_zero(
    dump: str, uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes = [
        called("apply", "--source", dump, "--target", uri, "--as-of", WHEN, "--yes", "--run", "one"),
        called("verify", "--source", dump, "--target", uri),
        called("apply", "--source", dump, "--target", uri, "--as-of", WHEN, "--yes"),
        called("status", "--target", uri),
        called("export", str(tmp_path / "rows.ndjson"), "--target", uri),
        called("export", str(tmp_path / "folder"), "--target", uri),
        called("rollback", "--target", uri, "--yes"),
    ]
    with MongoClient[dict[str, object]](uri) as client:
        database = client.get_default_database()
        left = database.bookings.count_documents({})
        client.drop_database(database.name)

    shown = capsys.readouterr().out
    assert (codes, left) == ([0] * 7, 0)
    assert "Verified: nothing is missing" in shown
    assert "Nothing was to do" in shown
    assert (tmp_path / "folder" / "bookings.ndjson").read_text() == (tmp_path / "rows.ndjson").read_text()
    assert {file.stem for file in (tmp_path / "folder").iterdir()} == {"bookings", "users", "experts"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", "--source", "/nowhere"),
        ("plan", "--source", "OLD", "--profile", "nonesuch"),
        ("plan", "--source", "OLD", "--timezone", "Mars/Olympus"),
        ("plan", "--source", "OLD", "--currency", "XXQ"),
        ("plan", "--source", "OLD", "--as-of", "yesterday"),
        ("plan", "--source", "OLD", "--stale-pending", "perhaps"),
        ("plan", "--source", "OLD", "--client", "7"),
        ("plan", "--source", "OLD", "--set", "duration"),
        ("plan",),
        ("apply", "--source", "OLD", "--target", "mongodb://"),
        ("verify", "--source", "OLD", "--run", "nonesuch"),
        ("rollback", "--since", "perhaps"),
    ],
)
def test_a_wrong_call_ends_with_two_and_one_sentence(
    arguments: tuple[str, ...],
    dump: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CONFIIDO_DATA_DIR", str(tmp_path / "data"))

    code = called(*(dump if argument == "OLD" else argument for argument in arguments))

    assert code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_migrate_flat_bookings_is_the_same_command(tmp_path: Path) -> None:
    (tmp_path / "bookings.json").write_text(json_util.dumps([flat()]))
    script = Path(__file__).parents[2] / "scripts" / "migrate_flat_bookings.py"

    done = subprocess.run(
        [sys.executable, script, "plan", "--source", tmp_path / "bookings.json", "--json", "-"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sessions"] == 1


def test_a_parameter_that_no_rule_reads_is_refused_with_those_there_are(
    dump: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = called("plan", "--source", dump, "--set", "duratoin=30")

    assert code == 2
    assert "--set duratoin: the parameters are duration, sessionType, status" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_the_help_names_every_default(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    called(command, "--help")

    text = capsys.readouterr().out
    assert all(default in text for default in ("Asia/Kolkata", "INR", "now."))


@pytest.mark.parametrize("command", ["plan", "apply", "verify"])
def test_an_empty_source_is_said_to_be_one(
    command: str, dump: str, uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "bookings.ndjson"
    empty.write_text("")
    called("apply", "--source", dump, "--target", uri, "--as-of", WHEN, "--yes", "--run", "one")
    given = {"plan": [], "apply": ["--target", uri, "--yes"], "verify": ["--target", uri, "--run", "one"]}[command]

    code = called(command, "--source", str(empty), *given)
    with MongoClient[dict[str, object]](uri) as client:
        client.drop_database(client.get_default_database().name)

    assert code == 2
    assert "holds no documents" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [("plan", "--html", "FILE"), ("plan", "--json", "FILE"), ("verify", "--json", "FILE"), ("export", "FILE")],
)
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_read(
    arguments: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "missing" / "plan.ndjson")
    source = () if arguments[0] == "export" else ("--source", str(tmp_path / "nowhere"))

    code = called(*(file if argument == "FILE" else argument for argument in arguments), *source)

    shown = capsys.readouterr().err
    assert (code, shown.count("\n")) == (2, 1)
    assert f"there is no folder {tmp_path / 'missing'}" in shown
