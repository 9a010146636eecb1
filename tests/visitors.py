"""Browsers for tests of people's pages: forms are sent as the pages hold them, mail is kept in a list."""

from __future__ import annotations

import re
import time
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from foveal.papers import accounts
from foveal.papers.accounts import Person
from foveal.web.safety import COOKIE
from foveal.web.site import Site

AT = "http://localhost"


class Outbox(list[tuple[str, str, str]]):
    """Sends nothing: address, subject and text of each mail, in order."""

    def __call__(self, address: str, subject: str, text: str) -> None:
        self.append((address, subject, text))

    @property
    def link(self) -> str:
        """The path of the link in the last mail."""
        return re.search(r"https?://[^/\s]+(\S+)", self[-1][2])[1]  # type: ignore[index]

    def posted(self, count: int, within: float = 20.0) -> str:
        """The link of mail number `count`, waited for: a mail goes out after its page has come."""
        deadline = time.monotonic() + within
        while len(self) < count and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(self) == count, f"{len(self)} mails, not {count}"
        return self.link


class Visitor(TestClient):
    """A browser without JavaScript that is at our site."""

    def __init__(self, app: FastAPI, **more: Any) -> None:
        super().__init__(app, base_url=AT, follow_redirects=False, **more)
        self.site: Site = app.state.site
        self._tokens: dict[str, str] = {}

    def token(self) -> str:
        """What forms of this browser carry: the same on every page, until its key changes."""
        key = self.cookies.get(COOKIE, "")
        if key not in self._tokens or not key:
            page = self.get("/login", follow_redirects=True).text
            self._tokens[self.cookies.get(COOKIE, "")] = page.split('data-token="')[1].split('"')[0]
        return self._tokens[self.cookies.get(COOKIE, "")]

    def submit(self, path: str, came_from: str = "/login", *, hx: bool = False, **fields: object) -> Any:
        """A form of the page `came_from`, sent by the browser or (`hx`) by HTMX."""
        headers = {"referer": AT + came_from, "origin": AT, "sec-fetch-site": "same-origin"}
        data = {name: str(value) for name, value in fields.items()}
        if hx:
            headers |= {"hx-request": "true", "hx-current-url": AT + came_from, "x-foveal-token": self.token()}
        else:
            data["token"] = self.token()
        return self.post(path, data=data, headers=headers)

    def sign_in(self, login: str, role: str = "member", domain: str = "example.org") -> Person:
        """By mail, as anybody."""
        address = f"{login}@{domain}"
        person = accounts.add(self.site.database, address, login=login, role=role)
        outbox = Outbox()
        self.site.deliver = outbox
        assert self.submit("/login", email=address).status_code == 200
        assert self.submit("/login/link", link=outbox.link.rpartition("/")[2]).status_code == 303
        return accounts.find(self.site.database, person.login)
