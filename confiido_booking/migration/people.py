"""Who a record speaks of: clients and experts found by the keys that HISTORY 5 trusts, in its order.

A 4-digit number is never the key of a client, and of an expert only where it is one expert's alone: ``'0000'`` is
shared by many.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bson import ObjectId

from confiido_booking.migration.coercions import Coercions, Refusal, same_email
from confiido_booking.migration.options import Options, derived_id
from confiido_booking.migration.scratch import Scratch

_NUMBER = re.compile(r"\d{4}", re.ASCII)
_CACHED = 4_000


class Client(NamedTuple):
    id: ObjectId
    number: str | None
    email: str | None
    name: str | None
    flags: tuple[str, ...]


class Expert(NamedTuple):
    id: ObjectId | None
    number: str | None
    email: str | None
    name: str | None
    flags: tuple[str, ...]


class _User(NamedTuple):
    id: ObjectId
    number: str | None
    email: str | None
    name: str | None


class _Profile(NamedTuple):
    id: ObjectId
    number: str | None
    email: str | None
    name: str | None


def number(value: str | None) -> str | None:
    """A user number that is somebody's own."""
    return value if value is not None and _NUMBER.fullmatch(value) and value != "0000" else None


def user_id(key: Any, coercions: Coercions) -> ObjectId:
    """The id of a user known by this key: itself where it is an ObjectId, else derived."""
    return coercions.object_id(key) or derived_id("users", coercions.key(key))


def expert_id(key: Any, coercions: Coercions) -> ObjectId:
    return coercions.object_id(key) or derived_id("experts", coercions.key(key))


@dataclass(slots=True)
class People:
    """The users and experts of the scratch, looked up with a small memory."""

    scratch: Scratch
    coercions: Coercions
    options: Options
    optional_expert: bool
    knows_experts: bool = False
    _users: dict[Any, _User | None] = field(default_factory=dict)
    _experts: dict[Any, _Profile | None] = field(default_factory=dict)
    _resolved: dict[Any, Expert] = field(default_factory=dict)

    def client(self, facts: Mapping[str, Any]) -> Client:
        """The client of a record.

        Raises:
            Refusal: ``client_unknown``.
        """
        coercions = self.coercions
        raw_key, email = facts.get("clientId"), coercions.email(facts.get("clientEmail"))
        stored_number, name = coercions.text(facts.get("clientUserId")), coercions.text(facts.get("clientName"))
        flags: list[str] = []
        key = coercions.object_id(raw_key)
        text = str(key) if key is not None else coercions.key(raw_key)
        user = self._user(text, same_email(email) if email else None)
        if key is not None:
            client_id = key
        elif user is not None:
            client_id = user.id
        elif text is not None:
            client_id = derived_id("users", text)
        elif email is not None:
            client_id = derived_id("client-email", same_email(email))
        else:
            raise Refusal("client_unknown")
        if text is None:
            flags.append("client_by_email")
        own = number(stored_number)
        if stored_number is not None and own is None:
            flags.append("shared_number")
        if user is not None and ((own is None and user.number) or (email is None and user.email)):
            flags.append("people_filled_in")
        return Client(
            client_id,
            own or (user.number if user else None),
            (user.email if user and user.email else None) or email,
            name or (user.name if user else None),
            tuple(flags),
        )

    def _user(self, key: str | None, email: str | None) -> _User | None:
        known = (key, email if key is None else None)
        if known in self._users:
            return self._users[known]
        row = None
        if key is not None:
            row = self.scratch.one("SELECT id, number, email, name FROM users WHERE key = ?", key)
        elif email is not None:
            row = self.scratch.one("SELECT id, number, email, name FROM users WHERE email = ? ORDER BY id", email)
        found = _User(ObjectId(row[0]), number(row[1]), row[2], row[3]) if row else None
        if len(self._users) >= _CACHED:
            self._users.clear()
        self._users[known] = found
        return found

    def expert(self, facts: Mapping[str, Any]) -> Expert:
        """The expert of a record, by expertId, by it as a user's id, by e-mail, by a number of one expert only.

        Raises:
            Refusal: ``expert_unknown``.
        """
        given = facts.get("expertId"), facts.get("expertUserId"), facts.get("expertEmail")
        known = tuple(map(str, given))
        if known not in self._resolved:
            if len(self._resolved) >= _CACHED:
                self._resolved.clear()
            self._resolved[known] = self._expert(*given)
        return self._resolved[known]

    def _expert(self, raw_key: Any, raw_number: Any, raw_email: Any) -> Expert:
        coercions = self.coercions
        key, email = coercions.object_id(raw_key), coercions.email(raw_email)
        text = str(key) if key is not None else coercions.key(raw_key)
        stored = coercions.text(raw_number)
        own = number(stored)
        flags: list[str] = ["shared_number"] if stored is not None and own is None else []
        profile = self._by("key", text)
        if profile is None:
            ways = (("user", text), ("email", same_email(email) if email else None), ("number", own))
            profile = next((found for way, value in ways if (found := self._by(way, value))), None)
            if profile is not None:
                flags.append("expert_resolved")
        if profile is not None:
            if (own is None and profile.number) or (email is None and profile.email):
                flags.append("people_filled_in")
            return Expert(profile.id, own or profile.number, email or profile.email, profile.name, tuple(flags))
        if text is not None or email is not None:
            if self.knows_experts:
                flags.append("expert_gone")
            derived = expert_id(text, coercions) if text is not None else None
            return Expert(derived, own, email, None, tuple(flags))
        if self.options.expert is not None:
            return Expert(self.options.expert, own, None, None, (*flags, "expert_assumed"))
        if self.optional_expert:
            return Expert(None, own, None, None, (*flags, "no_expert"))
        raise Refusal("expert_unknown")

    def _by(self, way: str, value: str | None) -> _Profile | None:
        if value is None:
            return None
        if (way, value) not in self._experts:
            if len(self._experts) >= _CACHED:
                self._experts.clear()
            rows = list(
                self.scratch.all(
                    f"SELECT id, number, email, name FROM experts WHERE {way} = ? LIMIT 2",  # noqa: S608
                    value,
                )
            )
            unique = len(rows) == 1 or (rows and way != "number")
            self._experts[way, value] = (
                _Profile(ObjectId(rows[0][0]), number(rows[0][1]), rows[0][2], rows[0][3]) if unique else None
            )
        return self._experts[way, value]
