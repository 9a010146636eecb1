"""The addresses of the site that stand in mails. The web app serves them; nothing but POST changes anything.

GET  confirm, unsubscribe      a page with a button          (`subscriptions.peek`, `peek_unsubscribe`)
POST confirm                   `subscriptions.confirm`
POST unsubscribe               `subscriptions.unsubscribe`: no cookie, no form token, no redirect (RFC 8058)
GET, POST preferences          `subscriptions.preferences_of`, `change`
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

CONFIRM = "/mail/confirm/{token}"
UNSUBSCRIBE = "/u/{token}"
PREFERENCES = "/mail/{token}"
PAPER = "/papers/{paper_id}"
REMARK = "/remarks/{number}"
RUN = "/research/{key}"


@dataclass(frozen=True)
class Links:
    """Addresses under the site's own (`MailSettings.url`)."""

    site: str

    def confirm(self, token: str) -> str:
        """Where a subscription is confirmed."""
        return self._at(CONFIRM.format(token=token))

    def unsubscribe(self, token: str) -> str:
        """Where one leaves, by one click."""
        return self._at(UNSUBSCRIBE.format(token=token))

    def preferences(self, token: str) -> str:
        """Where one chooses topics, hour and cadence."""
        return self._at(PREFERENCES.format(token=token))

    def paper(self, paper_id: str) -> str:
        """The page of a paper."""
        return self._at(PAPER.format(paper_id=quote(paper_id)))

    def remark(self, number: int) -> str:
        """Where a remark stands."""
        return self._at(REMARK.format(number=number))

    def run(self, key: str) -> str:
        """Where a run of research is shown."""
        return self._at(RUN.format(key=quote(key)))

    def home(self) -> str:
        """The first page."""
        return self._at("/")

    def _at(self, path: str) -> str:
        return self.site.rstrip("/") + path
