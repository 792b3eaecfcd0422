"""``confiido migrate apply``: read, make sessions, write (see ``reading``, ``assembly``, ``writing``)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from bson import ObjectId

from confiido_booking.migration import inplace
from confiido_booking.migration.collecting import few_collections
from confiido_booking.migration.companions import Companions
from confiido_booking.migration.intake import Progress, no_progress
from confiido_booking.migration.options import Options
from confiido_booking.migration.pace import Pace
from confiido_booking.migration.profile import Profile
from confiido_booking.migration.quarantine import write_quarantine
from confiido_booking.migration.reading import read
from confiido_booking.migration.runs import Run, Runs, RunState
from confiido_booking.migration.scratch import Scratch
from confiido_booking.migration.sources import Source
from confiido_booking.migration.writing import Writer

if TYPE_CHECKING:  # the client reads old documents by this package
    from confiido_booking.client import Confiido


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What ``apply`` did. ``conflicts``: double bookings that are to come, kept and marked. ``changed_in_both``:
    sessions that the old and the new system changed; ours stands. ``dangling``: references to ids that no record had.
    Of each the first thousand; ``counts`` says how many there are: ``double_bookings`` (of any time),
    ``double_bookings_to_come``, ``changed_in_both``, ``dangling``."""

    run: Run
    counts: Counter[str]
    conflicts: Sequence[ObjectId]
    changed_in_both: Sequence[ObjectId]
    dangling: Sequence[str]

    @property
    def wrote(self) -> int:
        return self.counts["wrote"]


async def apply(
    confiido: "Confiido",
    source: Source,
    profile: Profile,
    options: Options,
    *,
    now: datetime,
    run_id: str | None = None,
    explicit_instant: bool = False,
    in_place: bool = False,
    rate: float | None = None,
    progress: Progress = no_progress,
) -> Applied:
    """Migrate. A run that was killed is taken up; a second run over the same source writes nothing.

    Raises:
        Conflict: ``run_differs``: the open run of this source has other parameters.
        Invalid: the source has none of the profile's tables.
    """
    store, runs = confiido.store, Runs(confiido.store)
    run = await runs.begin(source.name, options, run_id=run_id, in_place=in_place, explicit=explicit_instant, now=now)
    await runs.save(run)
    if in_place:
        await inplace.move_aside(store)
    await confiido.ensure_indexes()
    with few_collections(), Scratch.open() as scratch:
        reading = read(scratch, source, profile, replace(run.options), progress)
        companions = Companions(store, reading, run)
        before = dict(run.counts)
        counts: Counter[str] = Counter()
        counts["experts"] = await companions.experts()
        counts["users"] = await companions.users()
        writer = Writer(store, reading, run, progress, Pace(rate))
        written = await writer.clients(options.limit)
        counts.update(written.counts)
        counts["references"], counts["dangling"], dangling = await companions.references()
        counts["quarantined"] = await write_quarantine(store, reading, run, writer.last)
        counts["matched"] = reading.matched
        counts["wrote"] += sum(counts[name] for name in ("experts", "users", "references", "quarantined"))
        run.counts = {**counts, "read": reading.read, "wrote": counts["wrote"] + before.get("wrote", 0)}
    run.state, run.finished_at = RunState.DONE, now
    await runs.save(run)
    return Applied(
        run=run,
        counts=counts,
        conflicts=written.conflicts,
        changed_in_both=written.changed_in_both,
        dangling=dangling,
    )
