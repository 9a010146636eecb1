"""One long text, a question, an answer with the places it stands at.

from foveal.reading import InfiniRetri
InfiniRetri(load_language_model()).read(document, "Who keeps the key?").citations
"""

from foveal.reading.events import AnswerDelta, Answering, Done, Event, Reading, ReadStarted, ReadStats, WindowRead
from foveal.reading.infiniretri import InfiniRetri, ReadSettings
from foveal.reading.sources import DocumentText, FileText
from foveal.reading.titans import TitansReader, TitansReadSettings

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
