"""How mail leaves this site: the table [mail] of foveal.toml, or variables FOVEAL_MAIL_<NAME>.

    [mail]
    host = "smtp.example.org"
    user = "papers"
    password_file = "smtp.password"            # in the home, or a whole path
    sender = "Daily Papers <papers@example.org>"
    url = "https://papers.example.org"
    postal = "Example Reading Group, 1 Main Street, Springfield"

Without `host` no mail is set up. What would send a password or a reader's token in the clear is refused.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, fields
from email.utils import parseaddr
from pathlib import Path
from urllib.parse import urlsplit

from foveal.errors import InputError
from foveal.papers.mail_addresses import canonical, domain_of
from foveal.settings import Settings, expanded, load_part

SECURITY = ("starttls", "tls", "none")


@dataclass(frozen=True, kw_only=True)
class MailSettings:
    """The choices; made by `load_mail`."""

    host: str = ""  # the SMTP server or relay
    port: int = 587
    security: str = "starttls"  # starttls, tls (from the first byte), or none (this machine only)
    authority: str = ""  # PEM file that vouches for the server; "" = those that the system trusts
    user: str = ""
    password: str = field(default="", repr=False)
    password_file: str = ""  # its first line
    sender: str = ""  # "Daily Papers <papers@example.org>"
    bounces: str = ""  # where failures are reported, and "unsubscribe" is written to; "" = the sender's address
    list_id: str = ""  # "" = daily-papers.<domain of the sender>
    postal: str = ""  # who sends this and where they are reached: the last line of each message
    url: str = ""  # of the site
    rate: int = 5  # messages a second, at most
    batch: int = 100  # messages over one connection
    timeout_s: int = 30  # for each answer of the server
    dkim_key: str = ""  # PEM file of an RSA key; "" = the relay signs
    dkim_selector: str = "foveal"
    dkim_domain: str = ""  # "" = the domain of the sender

    def __post_init__(self) -> None:
        for one in fields(self):
            value = str(getattr(self, one.name))
            if any(ord(character) < 32 or ord(character) == 127 for character in value):
                raise InputError(f"The setting mail.{one.name} holds a line break or control character. Take it out.")
        if self.security not in SECURITY:
            raise InputError(f"The setting mail.security got {self.security!r}; it needs one of {', '.join(SECURITY)}.")
        if self.security == "none" and not is_this_machine(self.host or "localhost"):
            raise InputError(
                f"The setting mail.security is none, and {self.host} is another machine: what is sent could be read "
                "on the way. Use starttls or tls."
            )
        if self.url:
            _check_url(self.url)
        if self.sender:
            canonical(parseaddr(self.sender)[1])
        if self.bounces:
            canonical(self.bounces)

    def complete(self) -> MailSettings:
        """These settings, if mail can be sent with them. InputError names what is missing."""
        missing = [name for name in ("host", "sender", "url", "postal") if not getattr(self, name)]
        if missing:
            names = ", ".join(missing)
            raise InputError(
                f"No mail can be sent before the table [mail] of foveal.toml says: {names} (or the variables "
                f"{', '.join(f'FOVEAL_MAIL_{name.upper()}' for name in missing)}). See docs/mail.md."
            )
        return self

    @property
    def sender_address(self) -> str:
        """The bare address of the sender."""
        return canonical(parseaddr(self.sender)[1])

    @property
    def return_address(self) -> str:
        """Where reports go."""
        return canonical(self.bounces) if self.bounces else self.sender_address

    @property
    def domain(self) -> str:
        """The domain of the sender."""
        return domain_of(self.sender_address)

    @property
    def list_name(self) -> str:
        """The list's identifier, for List-Id."""
        return self.list_id.strip("<>") or f"daily-papers.{self.domain}"

    @property
    def host_name(self) -> str:
        """What we call ourselves to the server."""
        return urlsplit(self.url).hostname or self.domain


def load_mail(settings: Settings) -> MailSettings:
    """The mail settings of a home; files are looked for there. InputError: one of them cannot be used."""
    return load_part("mail", MailSettings, settings.home)


def read_secret(home: Path, given: str, *, what: str) -> bytes:
    """The content of a file that holds a secret. InputError: it cannot be read."""
    path = home / expanded(given)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"The file of the setting mail.{what} cannot be read ({error.strerror}): {given}. Give its place, from "
            "the home or whole, and let this user read it."
        ) from error


def password_of(mail: MailSettings, home: Path) -> str:
    """The password for the server, "" where none is set."""
    if not mail.password_file:
        return mail.password
    lines = read_secret(home, mail.password_file, what="password_file").decode("utf-8", "replace").splitlines()
    return lines[0].strip() if lines else ""


def is_this_machine(host: str) -> bool:
    """Whether a host is this machine by its name alone."""
    if host in ("localhost", "localhost.localdomain"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    local = parts.scheme == "http" and is_this_machine(parts.hostname or "")
    if not parts.hostname or parts.query or parts.fragment or not (parts.scheme == "https" or local):
        raise InputError(
            f"The setting mail.url got {url!r}; it needs the site's address, such as https://papers.example.org "
            "(https, since whoever holds a link of a message can end its subscription)."
        )
