"""ask: a library answers a question; options that `read` shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from foveal.cli.answers import Place, Watch, answer_json, answer_text, loading, passage_json
from foveal.cli.citing import Cite, write_sources
from foveal.cli.library import RetrieverName, Where
from foveal.cli.output import AsJson, Home, notes, open_library, print_json, results
from foveal.registry import EDITS, MEMORIES, METHODS

if TYPE_CHECKING:
    from foveal.library import Library
    from foveal.models.chat import ChatModel
    from foveal.models.counted_chat import Tokens
    from foveal.models.language import LanguageModel
    from foveal.reading.asking import Asked
    from foveal.settings import Settings
    from foveal.types import Hit

DEFAULT_MODEL = "qwen2.5-coder-0.5b"
NEAREST = 3
"""Passages that are shown where no answer is borne out."""
MODELS = "one of `foveal models`, a folder, a .gguf file, or a hub id"

Url = Annotated[
    str | None, typer.Option(help="OpenAI-compatible server that answers, such as http://127.0.0.1:8080/v1.")
]
Attention = Annotated[
    str,
    typer.Option(
        help=f"How long windows attend to themselves: auto, {', '.join(METHODS)} (docs/attention.md), with options "
        "as in flexprefill:gamma=0.9; or act, act:FILE: the answer is by calibrated heads (docs/act.md); or "
        f"{', '.join(MEMORIES)}: from all of a text that foveal prefill --keep has kept (docs/retrieval-attention.md)."
    ),
]
Answerer = Annotated[str | None, typer.Option(help="Model of that server.")]


def register(app: typer.Typer) -> None:
    """Put this module's command into `app`."""
    app.command()(ask)


def not_empty(given: Any) -> Any:
    """A question, or several, as they were typed; wrong usage where one is blank."""
    if any(not question.strip() for question in ([given] if isinstance(given, str) else given or [])):
        raise typer.BadParameter("The question is empty. Ask something that the text may answer.")
    return _typed(given) if isinstance(given, str) else given and [_typed(one) for one in given]


def _typed(question: str) -> str:
    """A question without what is no character: bytes of the command line that are no UTF-8."""
    return question.encode("utf-8", "replace").decode("utf-8") if not question.isascii() else question


def ask(
    question: Annotated[str, typer.Argument(callback=not_empty)],
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="Passages to answer from.")] = 8,
    retriever: RetrieverName = None,
    rank: Annotated[str | None, typer.Option(help="Order what was found anew, as `foveal search --rank` does.")] = None,
    where: Where = None,
    model: Annotated[
        str | None,
        typer.Option(help=f"Model that answers without --url, and reads with --attention (default: {DEFAULT_MODEL})."),
    ] = None,
    attention: Annotated[
        str | None,
        typer.Option(
            help="Let the model read around the passages and choose sentences, which takes several times as long: "
            f"auto, {', '.join(METHODS)}, with options as in flexprefill:gamma=0.9 (docs/attention.md). "
            "Or act, act:FILE: calibrated heads answer (docs/act.md)."
        ),
    ] = None,
    url: Url = None,
    answerer: Answerer = None,
    cite: Cite = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Answer QUESTION from the library, with numbered citations, or say that it is not there."""
    if memory_in(attention):
        raise typer.BadParameter(
            f"--attention {attention} answers from one text that is kept, not from a library's passages: "
            f"foveal prefill SOURCE --keep --attention {attention}, then foveal read SOURCE … --attention {attention}."
        )
    library = open_library(home)
    if attention and not is_act(attention):
        from foveal.attention import method_for

        method_for(attention, 0)  # a wrong name is said now, also where nothing is found that would be read
    chat = server(url, answerer, library.settings)
    local = None if chat and model is None else language_model(model or DEFAULT_MODEL, library.settings, at_once=True)
    from foveal.models.counted_chat import CountedChat
    from foveal.reading.answering_settings import settings_for
    from foveal.reading.asking import AskSettings  # what takes seconds, after what can be wrong

    answering = settings_for(answerer_of(chat, local))
    if attention and is_act(attention):
        chat, attention = calibrated(attention, chat, local, library.settings), None
    counted = CountedChat(answerer_of(chat, local))
    ask_settings = AskSettings(answer=answering, looks=attention is not None, attention=attention or "auto")
    search: dict[str, Any] = {"k": k, "retriever": retriever, "rank": rank, "where": where}
    answer, hits = asked(library, question, cast("ChatModel", counted), local, settings=ask_settings, **search)
    places = places_of(library, answer, hits)
    if cite:
        from foveal.retrieval.cited_sources import Known

        entries = library.entries([one.span.document_id for one in answer.citations])
        write_sources(cite, answer.citations, {key: Known.of(entry) for key, entry in entries.items()})
    if as_json:
        passages = [passage_json(one.document_id, one.excerpt) | {"title": one.title} for one in answer.evidence]
        took = {"seconds": round(answer.seconds, 2), "tokens": asdict(counted.tokens)}
        print_json(answer_json(answer, places) | took | {"passages": passages})
        return
    results().print(answer_text(answer, places))
    if not answer.citations:
        _print_nearest(library, question, hits[:NEAREST])
    documents = len({hit.passage.span.document_id for hit in hits})
    of = f"{documents} document{'s' * (documents != 1)}"
    found = f"{len(hits)} passage{'s' * (len(hits) != 1)} of {of}"
    notes().print("; ".join((found, *tokens_said(counted.tokens), f"{answer.seconds:.1f} s")), style="dim")


def _print_nearest(library: Library, question: str, hits: Sequence[Hit]) -> None:
    """The passages to look at where no answer came that the texts bear out."""
    from foveal.cli.hits import hit_text

    entries = library.entries([hit.passage.span.document_id for hit in hits])
    known = [hit for hit in hits if hit.passage.span.document_id in entries]
    if known:
        results().print("What comes nearest:\n", style="dim")
    for place, hit in enumerate(known, start=1):
        results().print(hit_text(place, hit, entries[hit.passage.span.document_id], question, full=False))


def asked(
    library: Library, question: str, chat: ChatModel, local: LanguageModel | None, **search: Any
) -> tuple[Asked, tuple[Hit, ...]]:
    """Ask, showing the words as they come: the answer, and the passages that were found for it."""
    from foveal.reading.asking import Asked, Searched

    hits: tuple[Hit, ...] = ()
    with Watch() as watch:
        for event in library.ask_stream(question, model=chat, reader=local, **search):
            watch.show(event)
            if isinstance(event, Searched):
                hits = event.hits
            if isinstance(event, Asked):
                answer = event
    return answer, hits


def tokens_said(tokens: Tokens) -> list[str]:
    """What an answer took of a model, in a few words; nothing where none was asked."""
    if not tokens.calls:
        return []
    calls = f"{tokens.calls} calls, " * (tokens.calls > 1)
    about = "at most " * tokens.estimated
    return [f"{calls}{about}{tokens.prompt:,} tokens read, {tokens.completion:,} written"]


def answerer_of(chat: ChatModel | None, local: LanguageModel | None) -> ChatModel:
    """What answers: a server's model, else the one of this machine; for a server's PyTorch is not loaded."""
    if chat is not None:
        return chat
    from foveal.models.local_chat import LocalChat

    return LocalChat(cast("LanguageModel", local))


def places_of(library: Library, answer: Asked, hits: Sequence[Hit]) -> list[Place]:
    """Page of each citation, and the headings that it stands under."""
    from foveal.reading.cited_headings import cited_headings
    from foveal.text.printed_pages import printed_at
    from foveal.types import page_at

    entries = library.entries([one.span.document_id for one in answer.citations])
    headings = cited_headings(answer.citations, hits, lambda one, revision: library.get(one, revision=revision))
    places = []
    for span, heading in zip((one.span for one in answer.citations), headings, strict=True):
        entry = entries.get(span.document_id)
        pages = entry.pages if entry else ()
        places.append(Place(page_at(pages, span.start), heading, printed_at(pages, span.start)))
    return places


def is_act(attention: str) -> bool:
    """Whether `--attention` names calibrated heads: "act", or "act:FILE"."""
    return attention.partition(":")[0] in EDITS


def memory_in(attention: str | None) -> bool:
    """Whether `--attention` names what keeps a text; wrong usage where options stand behind the name."""
    name, colon, _ = (attention or "").partition(":")
    if name in MEMORIES and colon:
        raise typer.BadParameter(
            f"--attention {attention}: options are given when a text is kept, not when it is asked: foveal prefill "
            f"SOURCE --keep --attention {name} --set NAME=VALUE. After that --attention {name} stands alone."
        )
    return name in MEMORIES


def calibrated(attention: str, chat: ChatModel | None, model: LanguageModel | None, settings: Settings) -> ChatModel:
    """What answers by the calibrated heads of `model`; wrong usage where a server was to answer."""
    from foveal.attention.act_chat import CalibratedChat
    from foveal.attention.act_files import calibration_by_name

    if chat is not None or model is None:
        raise typer.BadParameter("--attention act calibrates a model of this machine; it does not go with --url.")
    return CalibratedChat(model, calibration_by_name(attention, model, settings.home).method(model))


def server(url: str | None, answerer: str | None, settings: Settings) -> ChatModel | None:
    """The model behind a server, where one is named; it may be silent as long as the settings say."""
    from foveal.models.chats import load_chat, served_as

    if bool(url) != bool(answerer):
        raise typer.BadParameter("--url and --answerer go together: the server's address and the model to ask there.")
    return load_chat(answerer, url=url, **served_as(settings)) if url and answerer else None


def language_model(name: str, settings: Settings, *, at_once: bool = False) -> LanguageModel:
    """The model of this machine; its conversion at the first use shows how far it is.

    `at_once`: it is sure to read or write, so that its weights are packed while the rest is loaded and searched.
    """
    with loading(name) as on_progress:
        from foveal.models import load_language_model

        loaded = load_language_model(name, cache=settings.cache, on_progress=on_progress)
    if at_once:
        from foveal.models.lean import pack_ahead

        pack_ahead(loaded.model)
    return loaded
