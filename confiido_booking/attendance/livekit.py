"""LiveKit, by its own server library: what its webhooks tell, and tokens to join a room.

A room is named by its service session's id, a participant by the id of the user.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bson import ObjectId
from google.protobuf.json_format import ParseError
from livekit.api import AccessToken, TokenVerifier, VideoGrants, WebhookReceiver
from livekit.protocol.models import ParticipantInfo
from livekit.protocol.webhook import WebhookEvent

from confiido_booking.attendance.rules import Room, object_id
from confiido_booking.errors import InvalidSignature, MalformedEvent, Unavailable
from confiido_booking.settings import Settings

_PEOPLE = frozenset({ParticipantInfo.Kind.STANDARD, ParticipantInfo.Kind.SIP})  # no agents, no egress, no ingress
_LEAVING = frozenset({"participant_left", "participant_connection_aborted"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """One participant's stay in a room, as far as one event tells it."""

    sid: str
    room_sid: str
    user_id: ObjectId
    joined_at: datetime | None = None
    left_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A fact of a room: that it opened or closed, or somebody's stay."""

    event_id: ObjectId
    fact: Room | Stay


@dataclass(frozen=True, slots=True)
class LiveKit:
    url: str
    key: str
    secret: str

    @classmethod
    def of(cls, settings: Settings) -> "LiveKit":
        """Raises Unavailable ``provider_not_configured``."""
        secret = settings.livekit_api_secret.get_secret_value() if settings.livekit_api_secret else ""
        if not (settings.livekit_url and settings.livekit_api_key and secret):
            raise Unavailable("Video rooms are not configured", code="provider_not_configured")
        return cls(settings.livekit_url, settings.livekit_api_key, secret)

    def told(self, body: bytes, authorization: str) -> Told | None:
        """What a signed event tells; None: nothing that concerns attendance.

        Raises:
            InvalidSignature; MalformedEvent: signed, but no event.
        """
        receiver = WebhookReceiver(TokenVerifier(self.key, self.secret))
        token = authorization.removeprefix("Bearer ").strip()
        try:
            event = receiver.receive(body.decode("utf-8"), token)
        except ParseError:
            raise MalformedEvent() from None
        except Exception:  # the library raises plain ones
            raise InvalidSignature() from None
        try:
            return _fact(event)
        except (OverflowError, ValueError, OSError):
            raise MalformedEvent() from None

    def token(self, *, event_id: ObjectId, user_id: ObjectId, name: str | None, lasts: timedelta, runs: bool) -> str:
        """The right to join one room. ``runs``: also to moderate it."""
        grants = VideoGrants(room_join=True, room=str(event_id), room_admin=runs or None)
        made = AccessToken(self.key, self.secret).with_identity(str(user_id)).with_grants(grants).with_ttl(lasts)
        return str((made.with_name(name) if name else made).to_jwt())


def _fact(event: WebhookEvent) -> Told | None:
    event_id = object_id(event.room.name)
    if event_id is None:
        return None
    sid, at = event.room.sid or event.room.name, _moment(event.created_at)
    if event.event == "room_started":
        started = _moment(event.room.creation_time) or at
        return Told(event_id=event_id, fact=Room(sid=sid, started_at=started))
    if event.event == "room_finished":
        return Told(event_id=event_id, fact=Room(sid=sid, started_at=_moment(event.room.creation_time), finished_at=at))
    leaves, person = event.event in _LEAVING, event.participant
    user_id = object_id(person.identity)
    if (not leaves and event.event != "participant_joined") or user_id is None or person.kind not in _PEOPLE:
        return None
    joined = _moment(person.joined_at) or (None if leaves else at)
    stay = Stay(
        sid=person.sid or person.identity,
        room_sid=sid,
        user_id=user_id,
        joined_at=joined,
        left_at=at if leaves else None,
    )
    return Told(event_id=event_id, fact=stay)


def _moment(seconds: int) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
