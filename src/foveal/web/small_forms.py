"""Routes whose forms are small: what is larger is refused while it comes, long before it is parsed.

router = APIRouter(route_class=SmallForms)          # every router that writes, but for
router = APIRouter(route_class=Uploads)             # the one that takes files

Against   safety.BodyLimit, which holds for uploads, too: tens of megabytes of form fields would keep the parser busy,
          and files that nobody asked for would lie on the disk while they come
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from anyio import to_thread
from fastapi import Form, HTTPException, Path, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException as ParserRefusal
from starlette.types import Message

from foveal.web.rights import Needs
from foveal.web.safety import NUL_MESSAGE

MOST = 160 * 1024
"""Bytes of a form: the longest remark, every character of it written as four escaped bytes, and what is around it."""

MOST_FIELD = 2**20
"""Bytes of a field that comes beside files: Starlette's own bound."""

MOST_ROWS = 2**31 - 1
"""The largest number that a row can have in every database."""

NULS = {
    "json": re.compile(rb"\x00|(?<!\\)(?:\\\\)*\\u0000"),  # behind another backslash one escapes nothing
    "form-data": re.compile(rb"\x00"),
    "x-www-form-urlencoded": re.compile(rb"\x00|%00"),
}
"""The character NUL, by the kind of body: in JSON "%00" is three characters, as its own escape is six elsewhere."""

Text = Annotated[str, Form()]
Row = Annotated[int, Path(ge=1, le=MOST_ROWS)]
FormRow = Annotated[int, Form(ge=0, le=MOST_ROWS)]
MaybeRow = Annotated[int | None, Form(ge=0, le=MOST_ROWS)]


class SmallForms(APIRoute):
    """A route that reads at most `MOST` bytes of a request, and no NUL."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler over a request that counts."""
        handler = super().get_route_handler()

        async def limited(request: Request) -> Response:
            said = request.headers.get("content-length", "0")
            if said.isdigit() and int(said) > MOST:
                raise _too_large()
            named = request.headers.get("content-type") or "json"  # as FastAPI takes it, unless it is strict
            kind = re.split(r"[/+]", named.partition(";")[0].strip().lower())[-1]
            nul, came = NULS.get(kind, NULS["x-www-form-urlencoded"]), bytearray()

            async def counting() -> Message:
                message = await request.receive()
                came.extend(message.get("body", b""))
                if len(came) > MOST:
                    raise _too_large()
                if not message.get("more_body") and nul.search(came):  # whole: what escapes it may come before it
                    raise HTTPException(400, NUL_MESSAGE)
                return message

            return await handler(Request(request.scope, counting))

        return limited


class Uploads(SmallForms):
    """A route that takes files, which may be as large as the site allows; what comes without any is small."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler, over a request that counts where no file can come."""
        small, whole = super().get_route_handler(), APIRoute.get_route_handler(self)

        async def either(request: Request) -> Response:
            await to_thread.run_sync(Needs("add"), request)  # before any of it is read
            if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
                return await small(request)
            try:
                return await whole(request)
            except ParserRefusal as error:  # FastAPI's own is a class below it
                if error.status_code == 400 and "exceeded maximum size" in str(error.detail):
                    raise HTTPException(413, FIELD_MESSAGE) from None
                raise

        return either


FIELD_MESSAGE = (
    f"A text that is pasted may have {MOST_FIELD // 2**20} MB. Save it as a file, such as text.txt, and choose that."
)


def _too_large() -> HTTPException:
    return HTTPException(413, f"What was sent is larger than {MOST // 1024} kB. Send less.")
