"""Flat bookings into client documents; the same as ``confiido migrate`` (docs/migration.md)."""

import sys

from confiido_booking.cli import main

if __name__ == "__main__":
    main(["migrate", *sys.argv[1:]])
