"""read --reader titans: a text goes into a memory once; questions are answered from what the memory points at."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.cli.answers import Watch
from foveal.cli.asking import language_model
from foveal.cli.output import notes, size
from foveal.cli.reading_shown import show
from foveal.cli.reading_sources import opened_source

if TYPE_CHECKING:
    from foveal.models.chat import ChatModel
    from foveal.nn.passage_memory import PassageMemory
    from foveal.reading import Reading
    from foveal.reading.sources import Text as Readable
    from foveal.reading.titans import TitansReader
    from foveal.settings import Settings
    from foveal.types import Encoder


def read(
    source: str,
    questions: Sequence[str],
    settings: Settings,
    *,
    model: str,
    chat: ChatModel | None,
    memory: str | None,
    budget: int,
    state: Path | None,
    answer: bool,
    encoding: str | None,
    as_json: bool,
    cite: Path | None = None,
) -> None:
    """Read what is not in the memory yet, answer, and say where the memory is kept."""
    from foveal.models import load_encoder
    from foveal.models.local_chat import LocalChat
    from foveal.reading.answering_settings import AnswerSettings, settings_for
    from foveal.reading.titans import TitansReader, TitansReadSettings

    text = opened_source(source, settings, encoding)
    encoder = load_encoder("minilm", cache=settings.cache)
    chosen = TitansReadSettings(budget=budget, answer=settings_for(chat, budget) if chat else AnswerSettings())
    reader = TitansReader(
        chat or LocalChat(language_model(model, settings)), chosen, encoder=encoder,
        memory=_trained(memory, encoder, settings), home=settings.home,
        reopen=lambda address: opened_source(address, settings),
    )  # fmt: skip
    path = state or kept_in(text, reader, settings)
    readings: tuple[Reading, ...] = ()
    address = source if "://" in source or not Path(source).exists() else str(Path(source).resolve())
    events = reader.stream(text, questions, path, address=address, answer=answer)
    with Watch() as watch, closing(events):
        for event in events:
            watch.show(event)
            readings = getattr(event, "readings", readings)
    show(text, readings, as_json=as_json, passages_only=not answer, cite=cite)
    told = f"The memory ({size(path.stat().st_size)}) is kept: {path}"
    on = f"Read on in it: foveal read ANOTHER … --reader titans --resume {shlex.quote(str(path))}"
    notes().print(f"{told}\n{on}", style="dim", markup=False, soft_wrap=True)


def kept_in(text: Readable, reader: TitansReader, settings: Settings) -> Path:
    """Where the memory of one text is kept, so that it is not read again: a file for each revision and memory."""
    from foveal.reading.titans_memory import made_by

    told = f"{text.document_id} {text.revision} {made_by(reader.memory, reader.encoder)}"
    return settings.home / "memory" / f"titans-{hashlib.sha256(told.encode()).hexdigest()[:16]}.safetensors"


def _trained(name: str | None, encoder: Encoder, settings: Settings) -> PassageMemory | None:
    """The memory of that name, or in that folder; None: untrained."""
    from foveal.reading.titans_training import load_memory

    if name is None:
        return None
    own = settings.home / "models" / name
    return load_memory(own if own.is_dir() else Path(name), encoder)
