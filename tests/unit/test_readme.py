"""The README keeps its word: its example runs as it stands, and its links lead somewhere."""

import re
from pathlib import Path

import pytest

from confiido_booking import Confiido
from tests.builders import a_client, an_admin, make_expert

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(ROOT.joinpath("docs").rglob("*.md"))]


@pytest.mark.usefixtures("connected")  # drops the database afterwards
async def test_the_example_of_the_readme_runs(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    [example] = re.findall(r"```python\n(.*?)```", ROOT.joinpath("README.md").read_text(), re.DOTALL)
    names: dict[str, object] = {}

    exec(compile(example, "README.md", "exec"), names)
    main = names["main"]
    assert callable(main)
    await main(uri)

    assert capsys.readouterr().out == "confirmed 1 20.00\n"


async def test_the_example_of_the_workflow_runs(confiido: Confiido, capsys: pytest.CaptureFixture[str]) -> None:
    [example] = re.findall(r"```python\n(.*?)```", ROOT.joinpath("docs", "workflow.md").read_text(), re.DOTALL)
    names: dict[str, object] = {}
    expert = await make_expert(confiido)

    exec(compile(example, "workflow.md", "exec"), names)
    main = names["main"]
    assert callable(main)
    await main(confiido, expert, a_client(), an_admin())

    assert capsys.readouterr().out == "confirmed INV-2026-000001 paid\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_the_documents_leads_somewhere(page: Path) -> None:
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text())]
    missing = [link for link in links if link and ":" not in link and not (page.parent / link).exists()]

    assert missing == []
