"""Messages are stored before they are sent (``communications``), each once under its dedupe key.

A message of an event is made by whoever reads the log next; the key makes two of them one. When its time comes it is
claimed, held against the session as it then is, and sent, or dropped where it no longer holds: so the reminder of a
time that the session has left goes by itself, and stands where the session comes back to it. A process that dies
between sending and noting sends it again, under the same Message-ID.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bson import ObjectId
from pymongo import ASCENDING, IndexModel

from confiido_booking.actors import Actor, Role
from confiido_booking.addresses import is_address
from confiido_booking.bookings import finding
from confiido_booking.bookings.context import Context
from confiido_booking.bookings.guards import fresh_key
from confiido_booking.bookings.rules import text as checked
from confiido_booking.database.store import Document
from confiido_booking.errors import Conflict, NotAllowed, Unavailable, wrong_field
from confiido_booking.events.deliveries import advance
from confiido_booking.events.log import LOG, EventLog
from confiido_booking.messaging import rules
from confiido_booking.messaging.rules import Kind, To

COMMUNICATIONS = "communications"
INDEXES = [
    IndexModel([("state", ASCENDING), ("dueAt", ASCENDING)], name="due"),
    IndexModel([("sessionId", ASCENDING), ("state", ASCENDING)], name="session"),
]
BATCH = 200
MOST_SUBJECT, MOST_TEXT = 200, 10_000


@dataclass(frozen=True, slots=True)
class Messages:
    """``confiido.messages``."""

    context: Context
    log: EventLog

    async def send(
        self,
        session_id: ObjectId,
        *,
        actor: Actor,
        template: str | None = None,
        subject: str | None = None,
        text: str | None = None,
        request_key: str | None = None,
    ) -> Document:
        """Queue a message to the client of a session: one of the templates, or a subject and a text.

        Raises:
            NotAllowed: not an administrator.
            Unavailable: ``provider_not_configured``: there is no mail server.
            NotFound: no such session.
            Invalid: neither a template nor a subject and a text, or both.
            Conflict: ``not_applicable``: what the template says is not so; ``no_address``: the client has none.
        """
        if actor.role is not Role.ADMIN:
            raise NotAllowed("Only an administrator can send messages")
        written = _written(template, subject, text)
        if self.context.settings.smtp_url is None:
            raise Unavailable("No mail server is configured", code="provider_not_configured")
        change = await finding.find_session(self.context, session_id, actor)
        if not is_address(change.document.get("clientEmail")):
            raise Conflict("The client has no e-mail address", code="no_address")
        now = self.context.clock()
        key = f"email:{change.session_id}:{request_key or fresh_key()}"
        message = _message(key, {**written, "to": To.CLIENT.value, "dueAt": now, "createdAt": now})
        message |= {"sessionId": change.session_id, "clientId": change.document["clientId"], "actor": actor.stamp()}
        if why := rules.why_not(message, change.raw_session, now):
            raise Conflict(why, code="not_applicable", details={"status": change.raw_session["status"]})
        await self.context.store.insert_missing("queue message", COMMUNICATIONS, [message])
        return message

    async def queue(self) -> int:
        """Make the messages that new events ask for. How many. Without a mail server events pass by unheard."""
        store, made = self.context.store, 0
        seen = await store.find_one("read cursor", LOG, {"_id": "messages"}) or {"seq": 0}
        seq: int = seen["seq"]
        if self.context.settings.smtp_url is None:
            head = await store.find_one("read log head", LOG, {"_id": "events"}, {"seq": 1})
            if head is not None and head["seq"] > seq:
                await advance(store, "messages", head["seq"])
            return 0
        while events := await self.log.after(seq, BATCH):
            messages = [message for event in events for message in self._of(event)]
            if messages:
                await store.insert_missing("queue messages", COMMUNICATIONS, messages)
            made += len(messages)
            seq = events[-1]["seq"]
            await advance(store, "messages", seq)
        return made

    def _of(self, event: Document) -> list[Document]:
        now = self.context.clock()
        about: Document = {name: event[name] for name in ("clientId", "sessionId") if name in event}
        data: Mapping[str, Any] = event["data"]
        about |= {name: data[name] for name in ("invoiceId", "startsAt") if name in data}
        messages = []
        for wanted in rules.wanted(event, now):
            fields: Document = {"kind": wanted.kind.value, "to": wanted.to.value}
            fields |= {"dueAt": wanted.due_at, "createdAt": now}
            if wanted.kind is Kind.REMINDER:
                when = data["startsAt"].isoformat()
                key = f"reminder:{event['sessionId']}:{wanted.hours}:{when}:{wanted.to}"
                fields["hours"] = wanted.hours
            else:
                key = f"{wanted.kind}:{event['_id']}:{wanted.to}"
                fields["eventAt"] = event["at"]
            messages.append(_message(key, {**about, **fields}))
        return messages


def _message(key: str, fields: Mapping[str, object]) -> Document:
    """Its ``_id`` is made of its key: whoever makes it again makes the same one."""
    name = hashlib.sha256(key.encode()).digest()[:12]
    return {"_id": ObjectId(name), "key": key, "state": "queued", "attempts": 0, **fields}


def _written(template: str | None, subject: str | None, text: str | None) -> Document:
    if (template is None) == (subject is None and text is None):
        raise wrong_field("template", "is needed, or else subject and text")
    if template is not None:
        if template not in rules.ABOUT_A_SESSION:
            raise wrong_field("template", f"must be one of {', '.join(rules.ABOUT_A_SESSION)}")
        return {"kind": template}
    for name, value in (("subject", subject), ("text", text)):
        if not (value or "").strip():
            raise wrong_field(name, "must not be empty")
    return {
        "kind": Kind.CUSTOM.value,
        "subject": checked(subject, "subject", limit=MOST_SUBJECT),
        "text": checked(text, "text", limit=MOST_TEXT),
    }
