"""`--cite FILE`: the sources of an answer for a list of references, by the file's ending."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.output import notes

if TYPE_CHECKING:
    from foveal.retrieval.cited_sources import Known
    from foveal.types import Citation


def checked(path: Path | None) -> Path | None:
    """A file that is to be written once there is an answer; wrong usage: its ending says no format."""
    if path is None:
        return None
    from foveal.errors import InputError
    from foveal.text.references import form_of

    try:
        form_of(path)
    except InputError as error:
        raise typer.BadParameter(str(error)) from error
    if not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"The folder {path.parent} is not there, so that {path.name} cannot be written.")
    return path


Cite = Annotated[
    Path | None,
    typer.Option(
        "--cite",
        help="Write the sources that are cited to this file, for a list of references: .bib (BibTeX), .json (CSL-JSON) "
        "or .ris.",
        dir_okay=False,
        callback=checked,
        show_default=False,
    ),
]


def write_sources(path: Path, citations: Sequence[Citation], known: Mapping[str, Known]) -> None:
    """Write the sources of an answer; of one that cites nothing no file is written."""
    from foveal.evaluation.files import whole_file
    from foveal.retrieval.cited_sources import file_path, sources_of
    from foveal.text.references import FORMS, form_of

    if not citations:
        notes().print(f"Nothing is cited: {path} is not written.", markup=False, soft_wrap=True)
        return
    places = [(one.span, one.revision, one.title, one.url) for one in citations]
    found = sources_of(places, known, file_path)
    with whole_file(path) as partial:
        partial.write_text(FORMS[form_of(path)].write(found), encoding="utf-8", errors="replace", newline="")
    what = f"{len(found)} source{'s' * (len(found) != 1)} in {path}"
    notes().print(what, markup=False, soft_wrap=True)
