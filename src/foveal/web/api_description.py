"""The OpenAPI description of the API, as it is: what FastAPI makes of the routes, with what it cannot know.

Summaries     the first sentence of each route's own words, in the place of its name in the code
Refusals      `{"error": "…"}`, below /v1/ in OpenAI's shape; 400 also for what FastAPI itself would refuse with 422
Tokens        that a call may bring one, and that those who change something need one where members write
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from foveal.web.json_errors import OPENAI

ABOUT = """What a site holds, for programs. Calls that only look need nothing. Where members write, those that add, ask,
read, research or remove send a token, which its person makes in the settings: `Authorization: Bearer foveal_…`. It may
what its person may. Every refusal is JSON, `{"error": "…"}`, below /v1/ in OpenAI's own shape; 429 and 503 say in
`Retry-After` when to come again."""

TAGS = {
    "papers": "The papers, in the shapes of the Hugging Face Hub.",
    "library": "Documents: search, adding, asking, reading. What takes a while answers with a job.",
    "research": "Questions that no single page answers, and reports.",
    "chat": "The library as a model, for clients of OpenAI's chat protocol; refusals have the shape that these read.",
}

REFUSALS = {
    "400": "What was sent cannot be read, or means nothing here.",
    "401": "It needs a token; or the one that came is not known (any more).",
    "403": "Not here, or not for this person.",
    "404": "There is no such thing here (any more).",
    "413": "More was sent than is taken at once.",
    "429": "Too often, or too much at a time; `Retry-After` says when to come again.",
    "503": "Not now; `Retry-After` says when to come again.",
}
"""Statuses that a call may have beside its own, and what they mean."""

GIVES = {
    "200": "What was asked for.",
    "201": "It is there now.",
    "202": "It has begun: a job, whose address says how far it is.",
    "204": "It is done, and there is nothing to say.",
}
"""Statuses of what went well, and what they mean."""

COMES_AGAIN = ("429", "503")
"""Refusals that say in Retry-After when to come again."""

PARAMETERS = {
    "after": "Only events behind this number: the last that came before a stream broke off.",
    "as_of": "As of this day, such as 2023-05-01: for the retriever `fresh`.",
    "date": "A day, such as 2026-10-02.",
    "each": "Every passage that fits, not the best of each document.",
    "end": "Where the part ends, in characters of the text; without it, as much as is given at once.",
    "events": "With what was going on: for the retriever `fresh`.",
    "item": "The `_id` of an entry of the collection, or the paper's id.",
    "id": "An arXiv id or the address of a paper.",
    "k": "Passages at most.",
    "key": "As the call that began it gave it.",
    "limit": "Entries at most.",
    "model": "As the list of models has it.",
    "month": "A month, such as 2026-10.",
    "p": "Which page of the list.",
    "q": "The question, or words.",
    "rank": "A ranker that orders anew what was found.",
    "retriever": "How to search; without it, as the library's page does.",
    "revision": "The revision that a citation names; without it the newest.",
    "slug": "The number of a collection, as in the address of its page.",
    "sort": "The order of the list.",
    "start": "Where the part begins, in characters of the text.",
    "submitter": "Only what this person listed.",
    "week": "A week, such as 2026-W40.",
    "where": "Only in documents such as 'kind=pdf'.",
    "which": "The id of a document, or its first digits, 6 or more.",
}
"""What the parameters of all calls mean: one word means the same everywhere."""

NAMES = {"Body_add_files_api_library_files_post": "NewFiles"}
"""Shapes that FastAPI names by itself, as a client's classes should be called."""

CHANGES = ("post", "patch", "delete")


def described(app: FastAPI) -> dict[str, Any]:
    """The whole description; made once, as it never changes."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, routes=app.routes, description=ABOUT)
        made["tags"] = [{"name": name, "description": said} for name, said in TAGS.items()]
        parts = made.setdefault("components", {})
        parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        kept = parts.setdefault("schemas", {})
        for name in ("HTTPValidationError", "ValidationError"):
            kept.pop(name, None)
        kept |= _refusals()
        made = _renamed(made)
        for path, methods in made["paths"].items():
            for method, call in methods.items():
                _complete(call, method, path)
        app.openapi_schema = made
    return app.openapi_schema


def calls(app: FastAPI) -> Iterator[dict[str, Any]]:
    """What the page about the API shows of each call, by tag and address."""
    whole = described(app)
    shapes = whole["components"]["schemas"]
    every = [
        (list(TAGS).index(call["tags"][0]), path, method, call)
        for path, methods in whole["paths"].items()
        for method, call in methods.items()
    ]
    for _, path, method, call in sorted(every, key=lambda one: one[:3]):
        _, sent = _content(call.get("requestBody", {}))
        status, gives = next(iter(call["responses"].items()))
        kind, answer = _content(gives)
        yield {
            "method": method.upper(),
            "path": path,
            "tag": call["tags"][0],
            "said": call.get("description", "").split("`"),  # each second piece is code
            "parameters": call.get("parameters", []),
            "sent": list(_fields(sent, shapes)),
            "status": status,
            "kind": kind,
            "answers": list(_fields(answer, shapes)),
            "lists": answer.get("type") == "array",
        }


def _complete(call: dict[str, Any], method: str, path: str) -> None:
    said = str(call.get("description", "")).strip()
    call["summary"] = re.split(r"(?<=[a-z)])[.:;](?:\s|$)", said)[0].strip()
    call["operationId"] = "_".join((method, *re.findall(r"\w+", path.removeprefix("/api/"))))
    call["security"] = [{}, {"token": []}]
    for one in call.get("parameters", ()):
        one.setdefault("description", PARAMETERS[one["name"]])
    answers = call["responses"]
    answers.pop("422", None)
    for status in answers:
        answers[status]["description"] = GIVES[status]
    found = ("400", "404") if "{" in path or path.startswith(OPENAI) else ("400",)
    for status in (*found, "401", "429", "503", *(("403", "413") if method in CHANGES else ())):
        shape = "ChatError" if path.startswith(OPENAI) else "Error"
        refusal = {"schema": {"$ref": f"#/components/schemas/{shape}"}}
        told = {"description": REFUSALS[status], "content": {"application/json": refusal}}
        if status in COMES_AGAIN:
            told["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
        answers.setdefault(status, told)


def _refusals() -> dict[str, Any]:
    """The shapes of a refusal: the API's, and that of OpenAI's protocol (json_errors.py)."""
    said = {"type": "string", "description": "What is wrong, and what to do."}
    maybe = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    field = maybe | {"description": "The field that is wrong."}
    whole = _object(message=said, type={"type": "string"}, param=field, code=maybe)
    return {"Error": _object(error=said), "ChatError": _object(error=whole)}


def _object(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields)}


def _renamed(made: dict[str, Any]) -> dict[str, Any]:
    """The description with the shapes of `NAMES` under their names."""
    text = json.dumps(made)
    for before, after in NAMES.items():
        text = text.replace(f'"{before}"', f'"{after}"').replace(f"/{before}", f"/{after}")
    whole: dict[str, Any] = json.loads(text)
    return whole


def _content(told: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The kind of a body, and its schema."""
    for kind, content in told.get("content", {}).items():
        return kind, content.get("schema", {})
    return "", {}


def _fields(schema: Mapping[str, Any], shapes: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The fields of an object, or of each object of a list."""
    whole = _whole(schema.get("items", schema), shapes)
    for name, field in whole.get("properties", {}).items():
        yield {
            "name": name,
            "needed": name in whole.get("required", ()),
            "takes": _kind(field, shapes),
            "said": field.get("description", ""),
        }


def _whole(schema: Mapping[str, Any], shapes: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = shapes[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found


def _kind(field: Mapping[str, Any], shapes: Mapping[str, Any]) -> str:
    """ "string", "list of Hit: span, revision, …", "integer or null"."""
    kinds = [one for one in field.get("anyOf", [field]) if one.get("type") != "null"]
    said = " or ".join(dict.fromkeys(_named(one, shapes) for one in kinds)) or "any"
    return f"{said} or null" if len(kinds) < len(field.get("anyOf", [field])) else said


def _named(field: Mapping[str, Any], shapes: Mapping[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(map(str, field["enum"]))
    if field.get("type") == "array":
        return f"list of {_named(field.get('items', {}), shapes)}"
    if "$ref" in field:
        inside = _whole(field, shapes).get("properties", {})
        return f"{{{', '.join(inside)}}}"
    return str(field.get("format") or field.get("type", "any"))
