"""OpenDocuments of a few elements, made for tests."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

_ODF = "urn:oasis:names:tc:opendocument:xmlns"
NAMESPACES = " ".join(
    [
        *(
            f'xmlns:{name}="{_ODF}:{called}:1.0"'
            for name, called in {
                **{one: one for one in ("office", "style", "text", "table", "presentation", "meta")},
                "draw": "drawing", "fo": "xsl-fo-compatible", "svg": "svg-compatible",
            }.items()
        ),
        'xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:dc="http://purl.org/dc/elements/1.1/"',
        'xmlns:math="http://www.w3.org/1998/Math/MathML"',
        'xmlns:loext="urn:org:documentfoundation:names:experimental:office:xmlns:loext:1.0"',
    ]
)  # fmt: skip


def opendocument(
    body: str,
    kind: str = "text",
    *,
    automatic: str = "",
    styles: str = "",
    about: str = "",
    before: str = "",
    fonts: str = "",
    others: Mapping[str, str | bytes] | None = None,
) -> bytes:
    """A document with this body; its automatic styles, those of styles.xml, what it says of itself, other files.

    `before` is what its XML begins with, `fonts` are declared in it.
    """
    content = f"<office:font-face-decls>{fonts}</office:font-face-decls>"
    content += f"<office:automatic-styles>{automatic}</office:automatic-styles>"
    content += f"<office:body><office:{kind}>{body}</office:{kind}></office:body>"
    files: dict[str, str | bytes] = {
        "content.xml": f"{before}<office:document-content {NAMESPACES}>{content}</office:document-content>",
        "styles.xml": f"<office:document-styles {NAMESPACES}><office:styles>{styles}</office:styles>"
        "<office:automatic-styles><style:style style:name='P1' style:family='paragraph'>"
        "<style:text-properties text:display='none'/></style:style></office:automatic-styles></office:document-styles>",
        "meta.xml": f"<office:document-meta {NAMESPACES}><office:meta>{about}</office:meta></office:document-meta>",
        **(others or {}),
    }
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("mimetype", f"application/vnd.oasis.opendocument.{kind}", zipfile.ZIP_STORED)
        for name, inside in files.items():
            file.writestr(name, inside)
    return held.getvalue()


def style(name: str, family: str = "paragraph", *, inside: str = "", **more: str) -> str:
    """A style; `inside` it are its properties, `more` its attributes, such as parent_style_name."""
    said = "".join(f' style:{key.replace("_", "-")}="{value}"' for key, value in more.items())
    return f'<style:style style:name="{name}" style:family="{family}"{said}>{inside}</style:style>'


def letters(**said: str) -> str:
    """The properties of letters; names have "__" for ":" and "_" for "-"."""
    inside = " ".join(f'{key.replace("__", ":").replace("_", "-")}="{value}"' for key, value in said.items())
    return f"<style:text-properties {inside}/>"


def numbered(level: int, kind: str, after: str = ".", **more: str) -> str:
    """A level of a list that is numbered; `more` are further attributes, as of `letters`."""
    said = "".join(f' {key.replace("__", ":").replace("_", "-")}="{value}"' for key, value in more.items())
    return (
        f'<text:list-level-style-number text:level="{level}" style:num-format="{kind}" '
        f'style:num-suffix="{after}"{said}/>'
    )


def list_style(name: str, *levels: str) -> str:
    """A style of lists."""
    return f'<text:list-style style:name="{name}">{"".join(levels)}</text:list-style>'


BULLET = '<text:list-level-style-bullet text:level="1" text:bullet-char="•"/>'


def p(text: str, style: str = "") -> str:
    """A paragraph."""
    return f"<text:p{f' text:style-name={chr(34)}{style}{chr(34)}' if style else ''}>{text}</text:p>"


def items(*inside: str, style: str = "", more: str = "") -> str:
    """A list of items, each of paragraphs, or of a text that is one."""
    called = f' text:style-name="{style}"' if style else ""
    held = "".join(f"<text:list-item>{one if one.startswith('<') else p(one)}</text:list-item>" for one in inside)
    return f"<text:list{called} {more}>{held}</text:list>"


def cells(*texts: str) -> str:
    """Cells of a row; what begins with "<" stands as it is."""
    return "".join(one if one.startswith("<") else f"<table:table-cell>{p(one)}</table:table-cell>" for one in texts)


def rows(*given: str) -> str:
    """Rows of a table, each given by its cells."""
    return "".join(f"<table:table-row>{one}</table:table-row>" for one in given)
