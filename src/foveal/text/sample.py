"""Texts that lie on every machine: Python's reference manual, and the READMEs of the installed packages.

For the demo, for benches and for tests: real prose, no download.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

from foveal.types import Document


def manual() -> Iterator[Document]:
    """The topics of Python's reference manual (`pydoc_data.topics`, 106k tokens in all)."""
    from pydoc_data.topics import topics

    for name, text in topics.items():
        title = next((line.strip("* ") for line in text.splitlines() if line.strip("*= ")), name)
        origin = {"kind": "manual", "source": f"pydoc:{name}"}
        yield Document.of(f"pydoc:{name}", text, title.strip(), metadata=origin)


def readmes() -> Iterator[Document]:
    """The descriptions of the packages that are installed beside Foveal, sorted by name."""
    found = {package.metadata["Name"]: package for package in metadata.distributions()}
    for name in sorted(found, key=str.lower):
        text = found[name].metadata.get_payload()  # type: ignore[attr-defined]
        if isinstance(text, str) and text.strip():
            origin = {"kind": "readme", "source": f"package:{name}", "version": found[name].version}
            yield Document.of(f"package:{name}", text, name, metadata=origin)
