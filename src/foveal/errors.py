"""What can go wrong, as one tree. Each message says what came, what was expected, and what to do.

FovealError
├── InputError (ValueError)        an argument or a file's content is not usable as it stands
│   ├── UnknownName                no method, model, segmenter, ... is called that
│   ├── UnreadableSource           a file or page that holds no text we can read
│   ├── UnknownDocument            no document of the library has that id, path or address
│   ├── UnknownPaper               no paper, person or topic is called that
│   ├── UnknownRun                 no run of research is kept under that key
│   └── NotAllowed                 this person may not do that, or nobody may any more
├── TooMany                        a rate limit is used up; says when to come again
├── MissingExtra (ImportError)     an optional dependency is not installed
├── ModelUnavailable               a model is neither on disk, nor in a wheel, nor to be fetched
├── FetchFailed                    a server refused, was too slow, or sent too much
├── MailFailed                     the mail server cannot be used as it is set up
├── Cancelled                      the caller stopped a call
├── DatabaseError                  the SQL database cannot be used as asked
└── LibraryError                   the library's files
    ├── NoLibrary                  there is none yet
    ├── LibraryBusy                another process is writing to it
    ├── LibraryCorrupt             files are missing or damaged
    ├── LibraryTooNew              a newer Foveal wrote it
    └── StorageFull                no space is left
"""

from __future__ import annotations


class FovealError(Exception):
    """The root: the command line shows its message and exits with status 1."""


class InputError(FovealError, ValueError):
    """An argument or content that cannot be used as it stands."""


class UnknownName(InputError):
    """A name that no registry holds."""


class UnreadableSource(InputError):
    """A file, page or record without text that can be read."""


class UnknownDocument(InputError):
    """A document that the library does not hold."""


class UnknownPaper(InputError):
    """A paper, person, topic or organisation that the database does not hold."""


class UnknownRun(InputError):
    """A run of research that is not kept here, or that is not this reader's to see."""


class NotAllowed(InputError):
    """Something that this person may not do, or that is closed for all."""


class TooMany(FovealError):
    """A rate limit that is used up for `retry_after` seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type[TooMany], tuple[str, int]]:
        """As it is sent between processes."""
        return type(self), (str(self), self.retry_after)


class MissingExtra(FovealError, ImportError):
    """An optional dependency that is not installed."""


class ModelUnavailable(FovealError):
    """A model that cannot be found, or whose files are not what was expected."""


class FetchFailed(FovealError):
    """A remote address that could not be read within the limits."""


class MailFailed(FovealError):
    """A mail server that is not there, or will not take mail from us as we are set up."""


class Cancelled(FovealError):
    """A call that its caller stopped."""


class DatabaseError(FovealError):
    """The SQL database (papers, people, runs) cannot be reached, or is of another version."""


class LibraryError(FovealError):
    """The library's files cannot be used as asked."""


class NoLibrary(LibraryError):
    """There is no library yet, or nothing in it: who only looks finds nothing."""


class LibraryBusy(LibraryError):
    """Another process holds the writer's lock."""


class LibraryCorrupt(LibraryError):
    """Files of the library are missing or damaged."""


class LibraryTooNew(LibraryError):
    """The library was written by a newer Foveal."""


class StorageFull(LibraryError):
    """The disk or store has no space left; what was reported done is kept."""
