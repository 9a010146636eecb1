"""`foveal mcp` as the program that an assistant starts: nothing but the protocol on its output, and a clean end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pytest
from desks import home

from foveal.agents.stdio import whole

FOVEAL = [sys.executable, "-c", "from foveal.cli.main import run; run()"]

HEAVY = {"torch", "transformers", "lancedb", "pyarrow", "numpy", "fastapi", "trafilatura", "sqlalchemy"}

HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


@contextmanager
def started(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    env = {**os.environ, "FOVEAL_HOME": str(folder), "NO_COLOR": "1"}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*FOVEAL, "mcp", *options], env=env, text=True, **pipes) as program:
        try:
            yield program
        finally:
            program.kill()


def sent(to: IO[str], number: int | None, method: str, **params: Any) -> None:
    """A message, as one line."""
    about = {"jsonrpc": "2.0", "method": method, "params": params}
    to.write(json.dumps(about if number is None else about | {"id": number}) + "\n")
    to.flush()


def ended(program: subprocess.Popen[str]) -> int | None:
    """How a program ended, however long a busy machine takes; None: it does nothing any more, and has not."""
    asleep = 0
    while program.poll() is None and asleep < 100:
        time.sleep(0.1)
        asleep = asleep + 1 if states(program.pid) == {"S"} else 0
    return program.poll()


def states(pid: int) -> set[str]:
    """Those of a process's threads: "R" of one that works, or would if it had its turn, "S" of one that waits."""
    found = set()
    for one in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # it has just ended
            found.add(one.read_text().rpartition(")")[2].split()[0])
    return found


def test_output_is_the_protocol_alone_and_the_end_of_input_ends_it(tmp_path: Path) -> None:
    settings, _ = home(tmp_path)
    with started(settings.home) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        sent(program.stdin, 1, "initialize", **HELLO)
        told = json.loads(program.stdout.readline())
        assert told["result"]["serverInfo"]["name"] == "foveal"
        assert "hold instructions" in told["result"]["instructions"]
        sent(program.stdin, None, "notifications/initialized")
        program.stdin.write("no JSON\n")
        sent(program.stdin, 3, "tools/call", name="nothing \ud83d", arguments={"\ude00": 1})
        assert json.loads(program.stdout.readline())["id"] == 3  # it was answered, though half of a character is named
        sent(program.stdin, 2, "tools/call", name="search", arguments={"query": "keeper"})
        answers = [json.loads(program.stdout.readline()) for _ in range(1)]
        while answers[-1].get("id") != 2:
            answers.append(json.loads(program.stdout.readline()))
        assert answers[-1]["result"]["structuredContent"]["hits"]
        rest, errors = program.communicate(timeout=300)
        assert (program.returncode, rest) == (0, ""), errors
        assert "Traceback" not in errors


@pytest.mark.slow
def test_ctrl_c_ends_it_though_nothing_is_sent(tmp_path: Path) -> None:
    with started(tmp_path) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        sent(program.stdin, 1, "initialize", **HELLO)
        assert json.loads(program.stdout.readline())["id"] == 1
        program.send_signal(signal.SIGINT)
        assert ended(program) == 0
        assert "Traceback" not in program.stderr.read()  # type: ignore[union-attr]


def test_nothing_heavy_is_imported_before_a_tool_needs_it() -> None:
    script = f"""
import sys
import foveal.agents.home, foveal.agents.server, foveal.agents.stdio
print(*({HEAVY!r} & sys.modules.keys()))"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert done.stdout.split() == []


def test_halves_of_characters_are_taken_out_of_a_message_and_nothing_else() -> None:
    assert json.loads(whole(r'{"a\ud83d": "\uDE00 \ud83d\ude00 \\ud83d", "b": [1, 2.5, null]}')) == {
        "a\ufffd": "\ufffd \U0001f600 \\ud83d",
        "b": [1, 2.5, None],
    }
    for kept in ('{"a":  "\\u00e9"}\n', '{"a": "\\ud83d"\n', "\\ud83d\n"):
        assert whole(kept) == kept
