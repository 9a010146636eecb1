"""One long text, a question, an answer with the places it stands at.

from foveal.reading import InfiniRetri
InfiniRetri(load_language_model()).read(document, "Who keeps the key?").citations

Names load when they are used: to open a text, or to say that it is not there, takes no model.
"""

from typing import TYPE_CHECKING

from foveal.registry import at_first_use

if TYPE_CHECKING:
    from foveal.reading.events import AnswerDelta as AnswerDelta
    from foveal.reading.events import Answering as Answering
    from foveal.reading.events import Done as Done
    from foveal.reading.events import Event as Event
    from foveal.reading.events import Reading as Reading
    from foveal.reading.events import ReadStarted as ReadStarted
    from foveal.reading.events import ReadStats as ReadStats
    from foveal.reading.events import WindowRead as WindowRead
    from foveal.reading.infiniretri import InfiniRetri as InfiniRetri
    from foveal.reading.read_settings import ReadSettings as ReadSettings
    from foveal.reading.sources import DocumentText as DocumentText
    from foveal.reading.sources import FileText as FileText
    from foveal.reading.titans import TitansReader as TitansReader
    from foveal.reading.titans import TitansReadSettings as TitansReadSettings

_HOMES = {
    **dict.fromkeys(
        ("AnswerDelta", "Answering", "Done", "Event", "ReadStarted", "ReadStats", "Reading", "WindowRead"), "events"
    ),
    "InfiniRetri": "infiniretri",
    "ReadSettings": "read_settings",
    **dict.fromkeys(("DocumentText", "FileText"), "sources"),
    **dict.fromkeys(("TitansReadSettings", "TitansReader"), "titans"),
}

__all__ = sorted(_HOMES)


if not TYPE_CHECKING:  # a type checker that saw it would take any misspelt name for something
    __getattr__ = at_first_use(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
