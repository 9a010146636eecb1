"""One long text, a question, an answer with the places it stands at.

    from foveal.reading import InfiniRetri
    InfiniRetri(load_language_model()).read(document, "Who keeps the key?").citations

infiniretri   all of a text for one question: windows, what the model looks at, what is kept (windows, looking, memory)
titans        a text read once, into a memory that any question may be asked of
answering     excerpts and a chat model to an answer, checked; asking: the same for passages of a library
published     InfiniRetri as its authors have it, to compare with

Names load when they are used: to open a text, or to say that it is not there, takes no model.
"""

from typing import TYPE_CHECKING

from foveal.registry import at_first_use

if TYPE_CHECKING:
    from foveal.reading.events import AnswerDelta, Answering, Done, Event, Reading, ReadStarted, ReadStats, WindowRead
    from foveal.reading.infiniretri import InfiniRetri
    from foveal.reading.read_settings import ReadSettings
    from foveal.reading.sources import DocumentText, FileText
    from foveal.reading.titans import TitansReader, TitansReadSettings

_HOMES = {
    **dict.fromkeys(
        ("AnswerDelta", "Answering", "Done", "Event", "ReadStarted", "ReadStats", "Reading", "WindowRead"), "events"
    ),
    "InfiniRetri": "infiniretri",
    "ReadSettings": "read_settings",
    **dict.fromkeys(("DocumentText", "FileText"), "sources"),
    **dict.fromkeys(("TitansReadSettings", "TitansReader"), "titans"),
}

__all__ = [
    "AnswerDelta",
    "Answering",
    "DocumentText",
    "Done",
    "Event",
    "FileText",
    "InfiniRetri",
    "ReadSettings",
    "ReadStarted",
    "ReadStats",
    "Reading",
    "TitansReadSettings",
    "TitansReader",
    "WindowRead",
]

if not TYPE_CHECKING:  # a type checker that saw it would take any misspelt name for something
    __getattr__ = at_first_use(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
