"""docs/migration.md says what is done: a line for each rule, a profile that works as printed, options that exist."""

import re
from pathlib import Path

from typer.testing import CliRunner

from confiido_booking.cli.migrate import app
from confiido_booking.migration.profile import BUILT_IN
from confiido_booking.migration.profile import load as load_profile
from confiido_booking.migration.rules import FLAGS, REASONS

DOCS = (Path(__file__).parents[2] / "docs" / "migration.md").read_text()
TESTS = (Path(__file__).parent / "test_irregularities.py").read_text()


def test_every_rule_and_every_reason_has_a_line() -> None:
    for name in {**FLAGS, **REASONS}:
        assert f"| `{name}` |" in DOCS, name


def test_each_of_the_21_irregularities_has_a_rule_and_a_test() -> None:
    ruled = {rule.number for rule in {**FLAGS, **REASONS}.values()}
    ruled |= {int(number) for number in re.findall(r"^- (\d+):", DOCS, re.MULTILINE)}

    assert ruled >= set(range(1, 22))
    assert {int(number) for number in re.findall(r"def test_(\d\d)_", TESTS)} == set(range(1, 22))


def test_every_option_that_the_page_names_exists() -> None:
    known = {option for command in app.registered_commands for option in _options(command.callback)}

    assert set(re.findall(r"--[a-z][a-z-]+", DOCS)) <= known


def _options(command: object) -> set[str]:
    name = getattr(command, "__name__", "")
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "300", "TERMINAL_WIDTH": "300"}).output
    return set(re.findall(r"--[a-z][a-z-]+", re.sub(r"\x1b\[[0-9;]*m", "", shown)))


def test_the_printed_profile_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", DOCS, re.DOTALL)
    (tmp_path / "studio.toml").write_text(text)

    profile = load_profile(str(tmp_path / "studio.toml"))

    assert (profile.name, len(profile.tables), profile.parameters["duration"]) == ("studio", 2, "45")


def test_every_built_in_profile_is_named() -> None:
    for name in BUILT_IN:
        assert f"`{name}`" in DOCS
