"""The protocol's side: tools and resources for any client that speaks the Model Context Protocol.

    server = make_server(desk)          # a Server of the package `mcp`, for any of its transports

A desk does the calls: at home (`Calls` below) or on a served site (site.py). What an assistant is told of an error is
its sentence; what nobody foresaw is logged, and told without its insides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, ValidationError

from foveal import __version__
from foveal.agents import resources
from foveal.agents.place import Call, Place
from foveal.agents.threads import Report, Threads, Turns
from foveal.agents.tools import INSTRUCTIONS, Tool, offered
from foveal.errors import FovealError

T = TypeVar("T")
Context = ServerRequestContext[Any, Any]

UNFORESEEN = "Something that nobody foresaw went wrong ({}). The server's log says more."

logger = logging.getLogger("foveal.agents")


class Desk(Protocol):
    """Does the calls of a server."""

    @property
    def tools(self) -> Mapping[str, Tool]:
        """Those that are offered, by name."""
        ...

    async def do(self, tool: Tool, given: BaseModel, request: Any, report: Report) -> BaseModel:
        """Call a tool; `request` is the HTTP request that it came by, None without one. FovealError: it failed."""
        ...

    async def look(self, work: Callable[[Place, Call], T], request: Any, report: Report) -> T:
        """Look something up. FovealError: it failed."""
        ...

    def told(self, error: Exception) -> str:
        """What a client is told of an error of ours."""
        ...


@dataclass
class Calls:
    """The desk of one person's home: calls run side by side, those that need the model one by one."""

    place: Place
    changes: bool = False
    threads: Threads = field(default_factory=Threads)
    turns: Turns = field(default_factory=Turns)

    @property
    def tools(self) -> Mapping[str, Tool]:
        """All, or those that change nothing."""
        return offered(changes=self.changes, person=True)

    async def do(self, tool: Tool, given: BaseModel, request: Any, report: Report) -> BaseModel:  # noqa: ARG002
        """Call a tool, in a thread."""

        def work(call: Call) -> BaseModel:
            with self.turns.of(tool.lane, call):
                return tool.run(self.place, given, call)

        return await self.threads.run(work, report)

    async def look(self, work: Callable[[Place, Call], T], request: Any, report: Report) -> T:  # noqa: ARG002
        """Look something up, in a thread."""
        return await self.threads.run(lambda call: work(self.place, call), report)

    def told(self, error: Exception) -> str:
        """The whole sentence: whose home it is may know where it lies."""
        return str(error)


def make_server(desk: Desk) -> Server[Any]:
    """A server of the tools and resources of a desk."""

    async def list_tools(_ctx: Context, _params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_described(tool) for tool in desk.tools.values()])

    async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        tool = desk.tools.get(params.name)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, f"No tool is called {params.name[:60]!r}. There are: {_names(desk)}.")
        try:
            given = tool.asked.model_validate(params.arguments or {})
            made = await desk.do(tool, given, ctx.request, ctx.session.report_progress)
        except ValidationError as error:
            return _failed(_wrong(tool, error))
        except FovealError as error:
            return _failed(desk.told(error))
        except Exception as error:  # whatever it is, of this call alone
            logger.exception("the tool %s failed", tool.name)
            return _failed(UNFORESEEN.format(type(error).__name__))
        text = types.TextContent(type="text", text=made.model_dump_json())
        return types.CallToolResult(content=[text], structured_content=made.model_dump(mode="json"))

    async def list_resources(ctx: Context, params: Any) -> types.ListResourcesResult:
        cursor = params.cursor if params else None
        found = await _looked(desk, ctx, lambda place, call: resources.listed(place, cursor, call))
        return types.ListResourcesResult(resources=found.resources, next_cursor=found.next)

    async def list_templates(_ctx: Context, _params: Any) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=resources.templates())

    async def read_resource(ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        uri = str(params.uri)
        found = await _looked(desk, ctx, lambda place, call: resources.content(place, uri, call))
        contents = types.TextResourceContents(uri=uri, text=found.text, mime_type=found.media_type)
        return types.ReadResourceResult(contents=[contents])

    return Server(
        "foveal",
        version=__version__,
        title="Foveal",
        instructions=INSTRUCTIONS,
        get_tool_input_schema=lambda name: desk.tools[name].asked.model_json_schema() if name in desk.tools else None,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
    )


async def _looked(desk: Desk, ctx: Context, work: Callable[[Place, Call], T]) -> T:
    """What was looked up. MCPError: it cannot be."""
    try:
        return await desk.look(work, ctx.request, ctx.session.report_progress)
    except FovealError as error:
        raise MCPError(types.INVALID_PARAMS, desk.told(error)) from error
    except MCPError:
        raise
    except Exception as error:  # likewise
        logger.exception("a resource could not be read")
        raise MCPError(types.INTERNAL_ERROR, UNFORESEEN.format(type(error).__name__)) from error


def _described(tool: Tool) -> types.Tool:
    about = types.ToolAnnotations(
        title=tool.title,
        read_only_hint=not tool.changes,
        destructive_hint=tool.destroys,
        idempotent_hint=True,
        open_world_hint=tool.open_world,
    )
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.about,
        input_schema=tool.asked.model_json_schema(),
        output_schema=tool.given.model_json_schema(mode="serialization"),
        annotations=about,
    )


def _failed(said: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=said)], is_error=True)


def _wrong(tool: Tool, error: ValidationError) -> str:
    """What is wrong with arguments, and which there are."""
    wrong = "; ".join(
        f"{'.'.join(map(str, one['loc'])) or 'the arguments'}: {one['msg']}" for one in error.errors()[:5]
    )
    return f"{tool.name} cannot be called so. {wrong}. Its arguments: {', '.join(tool.asked.model_fields)}."


def _names(desk: Desk) -> str:
    return ", ".join(desk.tools)
