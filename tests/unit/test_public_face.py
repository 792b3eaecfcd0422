"""The library's face: what it exports, that it is typed, and that no web framework comes with it."""

import ast
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

import confiido_booking

LIBRARY = Path(confiido_booking.__file__).parent
FRAMEWORKS = {"api", "fastapi", "starlette", "uvicorn", "typer"}
COMMAND_LINE = LIBRARY / "cli"

PUBLIC = [
    "Actor",
    "AddOn",
    "Booking",
    "BookingError",
    "CancellationPolicy",
    "CancellationTier",
    "Change",
    "ClientBusy",
    "ClientRef",
    "Confiido",
    "Conflict",
    "Entry",
    "Expert",
    "ExpertInput",
    "Invalid",
    "Invoice",
    "InvoiceFilter",
    "InvoicePage",
    "InvoiceStatus",
    "LineWish",
    "Medium",
    "NotAllowed",
    "NotAuthenticated",
    "NotFound",
    "Paid",
    "Party",
    "PaymentNotVerified",
    "PaymentStatus",
    "PreconditionFailed",
    "Quote",
    "Review",
    "ReviewPage",
    "Role",
    "Service",
    "ServiceInput",
    "ServiceSession",
    "ServiceType",
    "Session",
    "SessionFilter",
    "SessionPage",
    "SessionStatus",
    "SessionType",
    "SessionTypeInput",
    "Settings",
    "SlotTaken",
    "Statement",
    "TaxWish",
    "TransitionRefused",
    "Unavailable",
    "View",
]


def test_the_public_names_are_these_in_order() -> None:
    assert confiido_booking.__all__ == PUBLIC == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_says_what_it_is(name: str) -> None:
    assert getattr(confiido_booking, name) is not None


def test_importing_the_library_loads_no_web_framework() -> None:
    program = "import sys, confiido_booking; print(*{name.partition('.')[0] for name in sys.modules})"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert "confiido_booking" in loaded
    assert not FRAMEWORKS.intersection(loaded)


@pytest.mark.parametrize("module", sorted(LIBRARY.rglob("*.py")), ids=lambda path: str(path.relative_to(LIBRARY)))
def test_no_module_of_the_library_imports_a_web_framework(module: Path) -> None:
    """But for the command line, which serves."""
    if module.is_relative_to(COMMAND_LINE):
        return
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(module.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
    }

    assert not FRAMEWORKS.intersection(imported)


def test_the_type_marker_ships_with_the_library() -> None:
    assert resources.files("confiido_booking").joinpath("py.typed").is_file()
