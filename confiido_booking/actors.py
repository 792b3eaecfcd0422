"""Who acts. Every command takes an :class:`Actor`; what it may do is decided in ``rules.py``."""

from dataclasses import dataclass, replace
from enum import StrEnum

from bson import ObjectId


class Role(StrEnum):
    CLIENT = "client"
    EXPERT = "expert"
    ADMIN = "admin"
    SERVICE = "service"  # a trusted backend
    SYSTEM = "system"  # the worker, a lapsed hold
    PAYMENT = "payment"  # a verified payment that confirms


_NO_EXPERT = ObjectId(bytes(12))
STAFF = frozenset({Role.ADMIN, Role.SERVICE, Role.SYSTEM, Role.PAYMENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Somebody who acts, as a token or a backend names them.

    ``id`` is the user's ``_id`` (a client's is their ``clientId``); ``user_id`` the 4-digit number;
    ``expert_id`` the ``_id`` of the expert profile this user owns, filled in by ``experts.identify``.
    ``email_verified``: the identity provider says that the address is theirs. ``subject``: the id their token named,
    where ``customers.identify`` put that of the client they are in its place.
    """

    role: Role
    id: ObjectId | None = None
    user_id: str | None = None
    email: str | None = None
    name: str | None = None
    expert_id: ObjectId | None = None
    email_verified: bool = False
    subject: ObjectId | None = None

    @classmethod
    def client(
        cls, id: ObjectId, *, user_id: str | None = None, email: str | None = None, name: str | None = None
    ) -> "Actor":
        return cls(role=Role.CLIENT, id=id, user_id=user_id, email=email, name=name)

    @classmethod
    def expert(
        cls, id: ObjectId, *, user_id: str | None = None, email: str | None = None, name: str | None = None
    ) -> "Actor":
        return cls(role=Role.EXPERT, id=id, user_id=user_id, email=email, name=name)

    @classmethod
    def admin(cls, id: ObjectId | None = None) -> "Actor":
        return cls(role=Role.ADMIN, id=id)

    @classmethod
    def service(cls, id: ObjectId | None = None) -> "Actor":
        return cls(role=Role.SERVICE, id=id)

    @classmethod
    def system(cls) -> "Actor":
        return cls(role=Role.SYSTEM)

    @property
    def own_expert_id(self) -> ObjectId:
        """For filters: the own profile, or an id that no expert has where there is none."""
        return self.expert_id or _NO_EXPERT

    @property
    def is_staff(self) -> bool:
        return self.role in STAFF

    def as_expert(self, expert_id: ObjectId) -> "Actor":
        return replace(self, expert_id=expert_id)

    def as_client(self, client_id: ObjectId) -> "Actor":
        return self if client_id == self.id else replace(self, id=client_id, subject=self.id)

    def stamp(self) -> dict[str, object]:
        """How history remembers this actor: ``{role, id?}``."""
        return {"role": self.role.value, **({"id": self.id} if self.id else {})}
