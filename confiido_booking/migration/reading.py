"""The first half of every command: read the whole source, make sessions of it, keep them in the scratch."""

from confiido_booking import times
from confiido_booking.errors import Invalid
from confiido_booking.migration.coercions import Coercions
from confiido_booking.migration.collecting import few_collections
from confiido_booking.migration.intake import Intake, Progress, Reading, no_progress, old_text
from confiido_booking.migration.options import Options
from confiido_booking.migration.profile import Profile, mapping
from confiido_booking.migration.reading_people import PeopleReading
from confiido_booking.migration.reading_sessions import SessionReading
from confiido_booking.migration.scratch import Scratch, encoded
from confiido_booking.migration.settling import Settling
from confiido_booking.migration.sources import Source, storable


def read(
    scratch: Scratch, source: Source, profile: Profile, options: Options, progress: Progress = no_progress
) -> Reading:
    """Read the source into the scratch.

    Raises:
        Invalid: ``source_empty``: none of the profile's tables of sessions is there.
    """
    coercions = Coercions(times.zone(options.timezone), dollar=options.dollar)
    reading = Reading(scratch, options, profile, source, coercions)
    intake = Intake(reading, set(source.tables()), progress)
    if not any(table.name in intake.present for table in profile.with_role("sessions")):
        names = " or ".join(table.name for table in profile.with_role("sessions"))
        raise Invalid(f"{source.name} has no table {names}, which {profile.name} reads", code="source_empty")
    with few_collections():
        PeopleReading(intake).everybody()
        SessionReading(intake).sessions()
        Settling(reading).settle()
        _references(intake)
    return reading


def _references(intake: Intake) -> None:
    """Reviews, invoices, messages: each with the session it speaks of, resolved when it is written."""
    reading = intake.reading
    for table in reading.profile.with_role("references"):
        columns = mapping(table, reading.coercions, reading.options.currency)
        for row, record in enumerate(intake.records(table)):
            facts = columns.facts(record)
            key = reading.coercions.key(record.get(table.key)) or str(row)
            own = reading.coercions.object_id(record.get(table.key))
            targets = []
            for name in ("session", "booking", "reference"):
                if name in facts:
                    prefix = "" if name == "reference" else f"{name}s:"
                    targets.append(old_text(reading.coercions.object_id(facts[name])) or f"{prefix}{facts[name]}")
            reading.scratch.add(
                "refs",
                id=f"{table.name}:{key}",
                name=table.kind or table.name,
                key=old_text(own) if own else f"{table.name}:{key}",
                target="\n".join(targets),
                doc=encoded(storable(record)),
            )
