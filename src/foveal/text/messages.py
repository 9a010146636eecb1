"""Mail as files (.eml) to text: the body, with subject, sender, recipients, date. What is attached is left aside."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser

from foveal.errors import UnreadableSource
from foveal.text.dates import aware
from foveal.text.plain import decode, storable


@dataclass(frozen=True)
class Message:
    """What a mail says."""

    text: str
    title: str | None
    author: str | None
    to: str | None
    cc: str | None
    published_at: datetime | None


def read_message(content: bytes, *, name: str) -> Message:
    """The mail in `content`. UnreadableSource: it is none, or says nothing."""
    mail = BytesParser(policy=policy.default).parsebytes(content)
    if not isinstance(mail, EmailMessage) or not (mail.keys() and ("from" in mail or "date" in mail)):
        raise UnreadableSource(f"{name} is no mail: it does not begin as one. Check what it is, and name it so.")
    text = _body(mail, name)
    if not text.strip():
        raise UnreadableSource(f"{name} is a mail without text. What is attached to it is not read: save it apart.")
    title, author, to, cc, date = (_header(mail, key) for key in ("subject", "from", "to", "cc", "date"))
    return Message(text, title, author, to, cc, aware(date))


def _body(mail: EmailMessage, name: str) -> str:
    part = mail.get_body(preferencelist=("plain", "html"))
    if part is None:
        return ""
    content, charset = part.get_payload(decode=True), part.get_content_charset()
    if not isinstance(content, bytes) or not content.strip():
        return ""
    if part.get_content_subtype() == "html":
        from foveal.text.html import read_html

        return read_html(content, name=name, charset=charset).text
    return storable(decode(content, name, stated=charset).replace("\r\n", "\n"))


def _header(mail: EmailMessage, key: str) -> str | None:
    try:
        said = str(mail[key] or "")
    except (ValueError, LookupError, AttributeError, TypeError):  # headers that no mail should have are refused late
        return None
    return re.sub(r"\s+", " ", storable(said)).strip() or None
