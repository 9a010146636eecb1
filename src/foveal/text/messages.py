"""Mail as files (.eml) to text: the body, with subject, sender, recipients, date.

A page that a browser saved with its pictures (.mhtml) is written as a mail, too: read_saved_page gives it back.
A mail within a mail (forwarded whole, one of a digest) is read where it stands, below its own subject, sender and date.
What else is attached is left aside.
"""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import dataclass
from datetime import datetime
from email import policy
from email.message import EmailMessage, Message
from email.parser import BytesParser

from foveal.errors import UnreadableSource
from foveal.text.dates import aware
from foveal.text.plain import decode, storable

_TEXTS = ("text/plain", "text/html")


@dataclass(frozen=True)
class Mail:
    """What a mail says."""

    text: str
    title: str | None
    author: str | None
    to: str | None
    cc: str | None
    published_at: datetime | None


def read_message(content: bytes, *, name: str) -> Mail:
    """The mail in `content`. UnreadableSource: it is none, or says nothing."""
    try:
        mail = _parsed(content)
        if not (mail.keys() and ("from" in mail or "date" in mail)):
            raise UnreadableSource(f"{name} is no mail: it does not begin as one. Check what it is, and name it so.")
        text = _body(mail, name)
    except RecursionError as error:
        raise UnreadableSource(
            f"{name} holds mails within mails, too many to be read. Save those wanted apart."
        ) from error
    if not text.strip():
        raise UnreadableSource(f"{name} is a mail without text. What is attached to it is not read: save it apart.")
    title, author, to, cc, date = (_header(mail, key) for key in ("subject", "from", "to", "cc", "date"))
    return Mail(text, title, author, to, cc, aware(date))


@dataclass(frozen=True)
class SavedPage:
    """A web page as it was sent, and where it was seen."""

    content: bytes
    charset: str | None
    url: str | None


def read_saved_page(content: bytes, *, name: str) -> SavedPage:
    """The page in a file of page and pictures (.mhtml, as browsers save it). UnreadableSource: there is none."""
    try:
        parts = list((whole := _parsed(content)).walk())
    except RecursionError:
        parts = []
    page = next((one for one in parts if one.get_content_type() in ("text/html", "application/xhtml+xml")), None)
    data = None if page is None else page.get_payload(decode=True)
    if page is None or not isinstance(data, bytes):
        raise UnreadableSource(f"{name} holds no web page, as its name says. Save the page anew, or as PDF.")
    seen = (_header(whole, "Snapshot-Content-Location"), str(page["Content-Location"] or "").strip())
    told = ("".join(storable(one or "").split()) for one in seen)  # long ones are folded, with blanks
    url = next((one for one in told if one.startswith(("https://", "http://"))), None)
    return SavedPage(data, page.get_content_charset(), url)


def _parsed(content: bytes) -> EmailMessage:
    return BytesParser(EmailMessage, policy=policy.default).parsebytes(content)


def _body(mail: EmailMessage, name: str) -> str:
    """All that its parts say, in their order. UnreadableSource: none says anything, and one cannot be read."""
    wrong: list[UnreadableSource] = []
    text = _said(mail, name, wrong) or _said(mail, name, wrong, named=True)
    if not text and wrong:
        raise wrong[0]
    return text


def _said(part: Message[str, str], name: str, wrong: list[UnreadableSource], *, named: bool = False) -> str:
    """What a part says: of alternatives the plain one if it says something. What has a file's name is attached, or,
    in a mail of which nothing else is text, its body (`named`).
    """
    if part.get_content_type() == "message/rfc822":  # programs forward by it, most of them as an attachment
        return _mail_within(part, name, wrong, named=named)
    if part.get_content_disposition() == "attachment":
        return ""
    if part.get_content_maintype() == "multipart":
        return _all_said(part, name, wrong, named=named)
    if part.get_content_type() not in _TEXTS or bool(part.get_filename()) > named:
        return ""
    try:
        return _text(part, name)
    except UnreadableSource as error:
        wrong.append(error)
        return ""


def _all_said(whole: Message[str, str], name: str, wrong: list[UnreadableSource], *, named: bool) -> str:
    parts = [one for one in whole.get_payload() if isinstance(one, Message)] if whole.is_multipart() else []
    kind = whole.get_content_subtype()
    if kind == "alternative":  # programs send an empty plain one beside the page that says it all
        parts.sort(key=lambda one: one.get_content_type() != "text/plain")
    texts = filter(str.strip, (_said(one, name, wrong, named=named) for one in parts))
    if kind in ("alternative", "related"):
        return next(texts, "")
    found = list(texts)  # a list puts its footer behind a letter, Apple Mail a picture between two halves
    return found[0] if len(found) == 1 else "\n\n".join(text.strip("\n") for text in found)


def _mail_within(part: Message[str, str], name: str, wrong: list[UnreadableSource], *, named: bool) -> str:
    inner = part.get_payload(0) if part.is_multipart() else None
    if not isinstance(inner, EmailMessage):
        return ""
    if not inner.keys() and str(part["content-transfer-encoding"] or "").lower() == "base64":
        try:  # some programs pack it so, against the rules
            inner = _parsed(b64decode(str(inner.get_payload())))
        except ValueError:
            return ""
    said = _said(inner, name, wrong, named=named).strip("\n")
    if not said.strip():
        return ""
    head = ((key, _header(inner, key)) for key in ("Subject", "From", "To", "Cc", "Date"))
    return "\n".join([*(f"{key}: {value}" for key, value in head if value), "", said])


def _text(part: Message[str, str], name: str) -> str:
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
