"""What tests of the Library, Ask and Read pages share: an app over an empty home, honest small models, a server."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from fpdf import FPDF
from reading.speakers import Quoter

from foveal.models.chat import GREEDY, Cancel, ChatModel, Messages, Sampling
from foveal.models.language import LanguageModel
from foveal.settings import Settings
from foveal.web.app import create_app
from foveal.web.site import SiteSettings

FACT = "The keeper of the tide mill is called Orsin Vale."
STORY = (
    f"# The mill\n\nIt stands at the river. {FACT} He has two cats.\n\n## Law\n\nNobody may fish there on Sundays.\n"
)


class Held(Quoter):
    """A `Quoter` that says its first piece, and the rest once it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go, self.began = threading.Event(), threading.Event()

    def stream(self, messages: Messages, sampling: Sampling = GREEDY, *, cancel: Cancel | None = None) -> Iterator[str]:
        """The pieces; Cancelled within a hundredth of a second."""
        for number, piece in enumerate(super().stream(messages, sampling, cancel=cancel)):
            if number == 1:
                self.began.set()
                while not self.go.wait(0.01):
                    if cancel:
                        cancel.check()
            yield piece


@dataclass
class OwnModels:
    """Models that a test brings along."""

    speaker: ChatModel = field(default_factory=Quoter)
    language_model: LanguageModel | None = None
    name: str = "quoter"

    def chat(self) -> ChatModel:
        """What answers."""
        return self.speaker

    def reader(self) -> LanguageModel | None:
        """What reads."""
        return self.language_model


def made_app(home: Path, models: Any = None, **options: Any) -> FastAPI:
    """The app over a home whose library is searched by words."""
    settings = Settings(home=home, cache=home / "cache", encoder="none")
    return create_app(settings, SiteSettings(**options), models=models or OwnModels())


@dataclass
class Visitor:
    """A browser without JavaScript."""

    client: TestClient

    def token(self) -> str:
        """That of its forms."""
        return self.client.get("/ask").text.split('data-token="')[1].split('"')[0]

    def post(self, path: str, files: Any = None, **fields: str) -> Any:
        """Send a form, and go where it leads."""
        return self.client.post(path, data={"token": self.token(), **fields}, files=files)

    def add(self, *files: tuple[str, bytes]) -> str:
        """Add files, and wait: the page that says what became of them."""
        return self.waited(self.post("/library/add", [("files", file) for file in files]))

    def waited(self, answer: Any) -> str:
        """The page, once its job has ended."""
        until = time.monotonic() + 60
        while "data-events" in answer.text:
            assert time.monotonic() < until, answer.text
            time.sleep(0.02)
            answer = self.client.get(answer.url.path)
        return str(answer.text)

    def only(self) -> str:
        """The id of the one document that the library lists."""
        found = re.findall(r'class="document-title" href="/library/([0-9a-f]{32})"', self.client.get("/library").text)
        assert len(found) == 1
        return str(found[0])


@contextmanager
def visiting(app: FastAPI) -> Iterator[Visitor]:
    """A visitor of `app`, without a server between."""
    with TestClient(app, base_url="http://localhost") as client:
        yield Visitor(client)


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The address of a real server of `app`, which ends with the block."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield f"http://localhost:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        app.state.site.jobs.close()  # as a signal would; streams that are open end
        server.should_exit = True
        thread.join()


def wait_for(holds: Callable[[], object], seconds: float = 60.0) -> None:
    """Until it holds."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.01)


def text_of(page: str) -> str:
    """What of a page's main part is read aloud."""
    from html import unescape

    main = page.split("<main", 1)[-1].split("</main>")[0]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", main)).split())


def pdf(*pages: str, title: str = "Tide mills", first: int = 1) -> bytes:
    """A PDF with a page for each text; `first` is printed on the first one."""
    made = FPDF()
    made.set_title(title)
    made.set_font("helvetica", size=12)
    for number, text in enumerate(pages):
        made.add_page(**({} if number or first == 1 else {"label_style": "D", "label_start": first}))
        made.multi_cell(0, 7, text)
    return bytes(made.output())
