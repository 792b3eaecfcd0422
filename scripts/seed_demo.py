"""The demo marketplace, into ``MONGODB_URI`` or the embedded engine; the same as ``confiido demo``."""

import sys

from confiido_booking.cli import main

if __name__ == "__main__":
    main(["demo", *sys.argv[1:]])
