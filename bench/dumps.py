"""Old data made to order as ``mongoexport`` would have written it (see ``migration/samples.py``)."""

from collections.abc import Iterable
from pathlib import Path

from bson import json_util

from confiido_booking.migration.samples import Raw, Samples

EVERY, FLAT = "ABCDEFH", "AB"


def write(folder: Path, documents: int, *, seed: int, eras: str = EVERY, huge: int = 0) -> str:
    """A folder of ``bookings``, ``users`` and ``experts``: an expert for every 250 documents, but at least 40.

    ``huge``: so many documents of 1,200 sessions besides.
    """
    folder.mkdir(parents=True)
    samples = Samples(seed=seed, experts_count=max(40, documents // 250), eras=eras, huge=huge)
    tables: dict[str, Iterable[Raw]] = {
        "bookings": samples.documents(documents),
        "users": samples.users(documents),
        "experts": samples.experts(),
    }
    for name, rows in tables.items():
        with (folder / f"{name}.ndjson").open("w") as file:
            file.writelines(json_util.dumps(row) + "\n" for row in rows)
    return str(folder)
