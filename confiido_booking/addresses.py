"""Whom a message goes to: a name, and an address that can stand in a header as it is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Person:
    """Who organises or attends. ``email`` may be anything: what is no plain address is left out."""

    email: str | None
    name: str | None = None


def is_address(email: str | None) -> bool:
    """Whether this can stand in a header or a property as it is: one @, nothing that separates or ends a line."""
    if not email or len(email) > 254 or not email.isprintable():
        return False
    local, at, domain = email.rpartition("@")
    return bool(local and at and domain) and not set(email) & set(' ,;:<>()[]"\\') and "@" not in local
