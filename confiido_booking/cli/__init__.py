"""The ``confiido`` command: run the service, look after its data, try it out (SPEC 10).

Exit codes: 0 done, 1 ``doctor`` found something that is not sound, 2 refused, with one sentence on standard error.
"""

import sys

try:
    from confiido_booking.cli.commands import main
except ModuleNotFoundError as error:
    if error.name not in ("typer", "rich", "jwt"):
        raise
    sys.exit(f"The confiido command needs confiido-booking[cli] ({error.name} is missing)")

__all__ = ["main"]
