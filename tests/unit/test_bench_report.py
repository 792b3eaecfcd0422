"""``docs/benchmarks.md`` is written by several commands, each its own section."""

from bench.report import replaced, section_of

DOCUMENT = "# Benchmarks\n\nHead.\n\n## One\n\nfirst\n\n## Two\n\nsecond\n"


def test_a_section_is_replaced_where_it_stands() -> None:
    changed = replaced(DOCUMENT, "## One", "new")

    assert changed == DOCUMENT.replace("first", "new")


def test_a_section_that_is_not_there_comes_last() -> None:
    changed = replaced(DOCUMENT, "## Three", "third")

    assert changed == DOCUMENT + "\n## Three\n\nthird\n"
    assert replaced(changed, "## Three", "third") == changed


def test_a_section_is_found_by_its_heading() -> None:
    assert section_of(DOCUMENT, "## One") == "first"
    assert section_of(DOCUMENT, "## Two") == "second"
    assert section_of(DOCUMENT, "## Three") is None
