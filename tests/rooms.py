"""What a LiveKit server would send, signed by LiveKit's own library."""

import base64
import hashlib
import json
from datetime import datetime

from bson import ObjectId
from livekit.api import AccessToken

KEY, SECRET = "APIconfiido", "a secret that LiveKit and we share, long enough"
CONFIGURED: dict[str, object] = {
    "livekit_url": "wss://rooms.example.org",
    "livekit_api_key": KEY,
    "livekit_api_secret": SECRET,
}


def told(
    event: str,
    at: datetime,
    *,
    room: ObjectId,
    room_sid: str = "RM_1",
    identity: object = None,
    sid: str = "PA_1",
    kind: str = "STANDARD",
    joined_at: datetime | None = None,
) -> bytes:
    """The body of an event as LiveKit writes it: 64-bit numbers are texts."""
    sent: dict[str, object] = {
        "event": event,
        "id": f"EV_{ObjectId()}",
        "createdAt": str(int(at.timestamp())),
        "room": {"sid": room_sid, "name": str(room)},
    }
    if identity is not None:
        person: dict[str, object] = {"sid": sid, "identity": str(identity), "kind": kind}
        if joined_at is not None:
            person["joinedAt"] = str(int(joined_at.timestamp()))
        sent["participant"] = person
    return json.dumps(sent).encode()


def signed(body: bytes, *, secret: str = SECRET, key: str = KEY) -> str:
    """The Authorization header of that body."""
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    return str(AccessToken(key, secret).with_sha256(digest).to_jwt())
