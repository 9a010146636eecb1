"""Somebody with an account, as a value, and what a role allows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

RIGHTS = {
    "member": frozenset[str](),
    "curator": frozenset({"curate"}),
    "moderator": frozenset({"moderate"}),
    "admin": frozenset({"curate", "moderate", "administer"}),
}
"""Role -> what it allows beside what everybody may."""


@dataclass(frozen=True)
class Person:
    """Somebody with an account, as a value."""

    id: int
    login: str
    email: str
    name: str
    role: str
    created_at: datetime
    verified_at: datetime | None

    @property
    def shown(self) -> str:
        """What others call them."""
        return self.name or self.login

    def may(self, right: str) -> bool:
        """Whether the role allows to curate, moderate or administer."""
        return right in RIGHTS[self.role]
