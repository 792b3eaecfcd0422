"""One e-mail by SMTP. What people wrote cannot add a header or a recipient: every header is one line, every address
plain."""

from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from urllib.parse import unquote, urlsplit

import aiosmtplib
from bson import ObjectId

from confiido_booking.addresses import Person, is_address
from confiido_booking.calendar import ics
from confiido_booking.messaging.rendering import Page
from confiido_booking.settings import Settings

TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Attachment:
    name: str
    content: bytes
    subtype: str  # "calendar" or "pdf"
    method: ics.Method | None = None


class Undeliverable(Exception):
    """The server will never take it: the address does not exist, or the message is refused for good."""


class TryLater(Exception):
    """The server is away, or does not take it now."""


def sender(settings: Settings) -> Person:
    """``CONFIIDO_MAIL_FROM``, or no-reply at the public address."""
    name, email = parseaddr(settings.mail_from)
    if not is_address(email):
        host = urlsplit(settings.public_url).hostname or "localhost"
        return Person(f"no-reply@{host}", settings.seller_name)
    return Person(email, name or settings.seller_name)


def compose(
    page: Page, *, message_id: ObjectId, to: Person, from_: Person, at: datetime, attached: list[Attachment]
) -> EmailMessage:
    """The message. The same ``message_id`` gives the same Message-ID, so that a second copy is known for one."""
    mail = EmailMessage(policy=SMTP)
    mail["From"] = _address(from_)
    mail["To"] = _address(to)
    mail["Subject"] = page.subject
    mail["Date"] = format_datetime(at)
    mail["Message-ID"] = f"<{message_id}@confiido-booking>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(page.text)
    mail.add_alternative(page.html, subtype="html")
    for each in attached:
        if each.subtype == "calendar":
            mail.add_attachment(
                each.content.decode(),
                subtype="calendar",
                filename=each.name,
                params={"method": each.method or "PUBLISH"},
            )
        else:
            mail.add_attachment(each.content, maintype="application", subtype=each.subtype, filename=each.name)
    return mail


async def send(mail: EmailMessage, url: str) -> None:
    """Hand it to the server at ``smtp://`` or ``smtps://``.

    Raises:
        Undeliverable: the recipient or the message was refused for good.
        TryLater: for everything else.
    """
    server = urlsplit(url)
    secure = server.scheme == "smtps"
    try:
        await aiosmtplib.send(
            mail,
            hostname=server.hostname or "127.0.0.1",
            port=server.port or (465 if secure else 587),
            username=unquote(server.username) if server.username else None,
            password=unquote(server.password) if server.password else None,
            use_tls=secure,
            timeout=TIMEOUT_SECONDS,
        )
    except aiosmtplib.SMTPRecipientsRefused as refused:
        if all(one.code >= 500 for one in refused.recipients):
            raise Undeliverable("the address was refused") from None
        raise TryLater("the address is not taken now") from None
    except aiosmtplib.SMTPDataError as refused:
        if refused.code >= 500:
            raise Undeliverable("the message was refused") from None
        raise TryLater("the message is not taken now") from None
    except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
        raise TryLater(type(error).__name__) from None


def _address(person: Person) -> Address:
    assert person.email is not None
    return Address(display_name=" ".join((person.name or "").split()), addr_spec=person.email)
