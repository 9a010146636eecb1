"""How a site is served: connections outlive what stands before it, and threads take short turns."""

import json
import logging
import re
import resource
import socket
import sys
import threading
import time
from contextlib import nullcontext

import httpx
import pytest
import uvicorn
from typer.testing import CliRunner

from foveal.cli import serve as serve_command
from foveal.cli.main import app as command
from foveal.errors import UnknownName
from foveal.web import background
from foveal.web.serving import KEEP_ALIVE_S, attentive, server_config


async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def test_a_connection_is_kept_longer_than_a_proxy_keeps_it():
    config = server_config(app, lifespan="off", timeout_graceful_shutdown=1)
    assert config.timeout_keep_alive == KEEP_ALIVE_S > 60
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}") as client:
                until = time.monotonic() + 20
                while not server.started and time.monotonic() < until:
                    time.sleep(0.02)
                answer = client.get("/")
        finally:
            server.should_exit = True
            thread.join(20)
    assert answer.text == "ok"
    assert "server" not in answer.headers


def test_turns_are_short_inside_and_as_before_outside():
    before = sys.getswitchinterval()
    with attentive():
        assert sys.getswitchinterval() < before
    assert sys.getswitchinterval() == before


@pytest.fixture
def serve(monkeypatch, tmp_path):
    """`foveal serve` over a home with these lines in its foveal.toml; the site that it would serve."""
    sites = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, **_: sites.append(self.config.app.state.site))
    monkeypatch.setattr(background, "Background", nullcontext)  # whose threads would load models

    def run(*arguments, toml=""):
        (tmp_path / "foveal.toml").write_text(toml, encoding="utf-8")
        env = {"FOVEAL_HOME": str(tmp_path), "FOVEAL_CACHE": str(tmp_path / "cache")}
        done = CliRunner().invoke(command, ["serve", "--port", "0", *arguments], env=env)
        if done.exception is not None:
            raise done.exception
        sites[-1].close()
        return sites[-1]

    return run


@pytest.mark.slow
def test_a_site_reads_by_the_attention_that_is_asked_for(serve):
    assert serve().web.attention == "auto"
    assert serve(toml='[web]\nattention = "streaming"\nstreams = 7').web.attention == "streaming"
    site = serve("--attention", "dhsa", toml='[web]\nattention = "streaming"\nstreams = 7')
    assert (site.web.attention, site.web.streams) == ("dhsa", 7)
    assert (site.web.window, serve("--window", "4096").web.window) == (768, 4096)
    assert serve(toml="[web]\nwindow = 3072").web.window == 3072
    with pytest.raises(UnknownName, match=r"'flash'\. There are: auto, dense, streaming"):
        serve("--attention", "flash")


def test_replicas_without_a_cluster_are_told():
    """Not passed over without a word."""
    told = CliRunner().invoke(command, ["serve", "--replicas", "2", "--port", "0"])
    assert told.exit_code == 2
    assert "--replicas goes with --ray" in told.output


@pytest.mark.parametrize(
    "url", ["https://example.org/foveal", "https://example.org/foveal/", "https://example.org/?a=b"]
)
def test_a_site_below_another_ones_name_is_told_that_it_needs_its_own(url):
    told = CliRunner().invoke(command, ["serve", "--url", url, "--port", "0"])
    assert told.exit_code == 2
    assert "a name of its own" in " ".join(told.output.replace("│", " ").split())


def test_more_connections_may_be_open_than_systems_give_at_first(serve):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(serve_command.OPEN_FILES, hard if hard != resource.RLIM_INFINITY else serve_command.OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        site = serve("--url", "https://papers.example.org/")
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (wanted, hard)
        assert wanted > site.web.streams + serve_command.CONNECTIONS
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert site.options.base_url == "https://papers.example.org"
    assert site.options.writers == "nobody"


@pytest.mark.parametrize(
    ("host", "names", "public"),
    [
        ("127.0.0.1", [], False),
        ("::1", ["localhost"], False),
        ("0.0.0.0", [], True),
        ("192.0.2.7", ["localhost"], True),
        ("127.0.0.1", ["papers.example.org"], True),
        ("localhost", ["*"], True),
    ],
)
def test_a_site_behind_a_proxy_of_its_machine_is_not_its_machines_alone(host, names, public):
    """Or strangers could remove what is in the library."""
    assert serve_command._is_public(host, names) == public


URL = ("--url", "https://papers.example.org")


@pytest.mark.parametrize(
    ("arguments", "toml", "writers"),
    [
        ((), "", "anyone"),
        (URL, "", "nobody"),
        (URL, '[web]\nwriters = "members"', "members"),
        ((*URL, "--writers", "members"), '[web]\nwriters = "nobody"', "members"),
        ((*URL, "--writable"), '[web]\nwriters = "members"', "anyone"),
        (("--read-only",), "", "nobody"),
    ],
)
def test_who_may_write_is_said_by_the_command_or_the_home_or_by_who_reaches_the_site(serve, arguments, toml, writers):
    assert serve(*arguments, toml=toml).options.writers == writers


MAIL = '[mail]\nhost = "localhost"\nurl = "https://papers.example.org"\nsender = "a@example.org"\npostal = "Ana"\n'


def test_links_in_mails_lead_to_a_site_that_is_called_so_and_is_as_public_as_by_url(serve):
    site = serve(toml=MAIL)
    assert (site.options.hosts[-1], site.options.writers) == ("papers.example.org", "nobody")
    assert serve("--host", "0.0.0.0", toml=MAIL).options.hosts[-2:] == ("papers.example.org", "*")
    local = MAIL.replace("https://papers.example.org", "http://localhost:8000")
    assert serve(toml=local).options.writers == "anyone"
    without = serve(toml=MAIL.replace('host = "localhost"\n', ""))  # no mail leaves it
    assert ("papers.example.org" in without.options.hosts, without.options.writers) == (False, "anyone")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--writers", "members", "--writable"), "leave --writable and --read-only out"),
        (("--writers", "membres"), "writers got 'membres'. There are: nobody, members, anyone."),
    ],
)
def test_writers_that_are_said_twice_or_wrong_are_told(serve, arguments, told):
    del serve  # what it puts in the place of the server
    done = CliRunner().invoke(command, ["serve", "--port", "0", *arguments])
    assert told in " ".join(f"{done.output} {done.exception}".replace("│", " ").split())


@pytest.mark.parametrize("asked", ["in the file", "on the command line"])
def test_a_log_of_json_is_json_from_its_first_line(serve, tmp_path, monkeypatch, asked):
    """Also what is warned of before the settings are read, which say so."""
    by_file = asked == "in the file"
    strange = "FOVEAL_WEB_LGO" if by_file else "FOVEAL_WEB_GLO"  # each is told of once
    for name in ("foveal", "uvicorn"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
    for name in ("foveal.web.requests", "foveal.web.start"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.NOTSET)
    (tmp_path / "foveal.toml").write_text('[web]\nlog = "json"\n' if by_file else "", encoding="utf-8")
    env = {"FOVEAL_HOME": str(tmp_path), "FOVEAL_CACHE": str(tmp_path / "cache"), strange: "json"}
    before = [] if by_file else ["--log-json"]
    done = CliRunner().invoke(command, [*before, "serve", "--port", "0", *URL, "--writers", "members"], env=env)
    told = [json.loads(line)["message"] for line in done.stderr.splitlines()]
    assert told[0].startswith(f"{strange}: no setting of [web].")
    assert told[1].startswith("Anybody with an address may sign in")
    assert re.fullmatch(r"Open http://localhost:\d+   \(Ctrl-C stops it\)", told[2])
    assert len(told) == 3


def test_what_is_warned_of_is_told_though_the_settings_are_wrong(serve, tmp_path):
    del serve
    (tmp_path / "foveal.toml").write_text('[web]\nlog = "yaml"\n', encoding="utf-8")
    env = {"FOVEAL_HOME": str(tmp_path), "FOVEAL_CACHE": str(tmp_path / "cache"), "FOVEAL_WEB_GOL": "json"}
    done = CliRunner().invoke(command, ["serve", "--port", "0"], env=env)
    assert "WARNING foveal.settings: FOVEAL_WEB_GOL: no setting" in " ".join(done.stderr.split())
    assert "log got 'yaml'" in str(done.exception)
