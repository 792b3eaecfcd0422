"""Migration: flat bookings into client documents, without losing a rupee.

The same as ``confiido migrate``, for programs::

    from confiido_booking import Confiido
    from confiido_booking import migration

    source, profile = migration.open_source("bookings.ndjson"), migration.load_profile("confiido-flat")
    options = migration.Options(as_of=datetime.now(UTC))
    print(migration.plan(source, profile, options).sessions)
    async with Confiido.connect(uri) as confiido:
        applied = await migration.apply(confiido, source, profile, options, now=datetime.now(UTC))
        assert (await migration.verify(confiido.store, source, profile, applied.run)).is_sound
"""

from confiido_booking.migration.apply import Applied, apply
from confiido_booking.migration.export import export
from confiido_booking.migration.options import Options
from confiido_booking.migration.plan import Plan, plan
from confiido_booking.migration.profile import Profile
from confiido_booking.migration.profile import load as load_profile
from confiido_booking.migration.rollback import RolledBack, rollback
from confiido_booking.migration.runs import Run, Runs, RunState
from confiido_booking.migration.sources import Source, open_source
from confiido_booking.migration.verify import Difference, Verified, verify

__all__ = [
    "Applied",
    "Difference",
    "Options",
    "Plan",
    "Profile",
    "RolledBack",
    "Run",
    "RunState",
    "Runs",
    "Source",
    "Verified",
    "apply",
    "export",
    "load_profile",
    "open_source",
    "plan",
    "rollback",
    "verify",
]
