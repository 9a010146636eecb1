"""The bench's client: answers whole, a closed connection opened anew, and what is broken told."""

import asyncio
import gzip

import pytest

from foveal.bench.light_client import FAILURES, LightClient

PAGE = b"<p>" + b"seen " * 300 + b"</p></html>"


def served(*answers):
    """What a client gets for each of its requests from a server that answers so, then closes."""

    async def run():
        taken, left = [], list(answers)

        async def talk(reader, writer):
            while left:
                try:
                    taken.append((await reader.readuntil(b"\r\n\r\n")).decode())
                except asyncio.IncompleteReadError:
                    break
                said, close = left.pop(0)
                writer.write(said)
                await writer.drain()
                if close:
                    break
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        client = LightClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout_s=5)
        found = []
        try:
            for _ in answers:
                found.append(await client.get("/a?q=b"))
                await asyncio.sleep(0.02)  # the server's closing arrives
        finally:
            client.close()
            server.close()
        return found, client.reopened, taken

    return asyncio.run(run())


def plain(body=PAGE, *more):
    return b"\r\n".join([b"HTTP/1.1 200 OK", f"Content-Length: {len(body)}".encode(), *more, b"", body])


def test_whole_and_in_chunks_and_compressed():
    packed = gzip.compress(PAGE)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (packed[:10], packed[10:])) + b"0\r\n\r\n"
    head = b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\nRetry-After: 3\r\n\r\n"
    found, reopened, taken = served((plain(), False), (head + chunks, False))
    assert [answer.body for answer in found] == [PAGE, PAGE]
    assert [answer.status for answer in found] == [200, 503]
    assert found[1].headers["retry-after"] == "3"
    assert reopened == 0
    assert taken[0].startswith("GET /a?q=b HTTP/1.1\r\nHost: 127.0.0.1:")


def test_an_idle_connection_that_was_closed_is_opened_anew():
    found, reopened, _ = served((plain(), True), (plain(b"again"), False))
    assert [answer.body for answer in found] == [PAGE, b"again"]
    assert reopened == 1


def test_a_connection_that_the_server_announces_to_close_is_no_surprise():
    found, reopened, _ = served((plain(PAGE, b"Connection: close"), True), (plain(), False))
    assert len(found) == 2
    assert reopened == 0


@pytest.mark.parametrize(
    "said", [b"", plain()[:-5], b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
)
def test_what_is_no_answer_is_a_failure(said):
    with pytest.raises(FAILURES):
        served((said, True))
