"""The fetcher against real local servers that behave, and that do not."""

import gzip
import socket
import threading
import time
import zlib

import httpcore
import pytest
from servers import broken, dead_url, dripping, endless, gzipped, in_turn, page, redirect, serving, silent

from foveal.errors import FetchFailed, InputError
from foveal.text.addresses import GuardedBackend, is_public, resolved
from foveal.text.fetching import FetchSettings, fetch


def local(**given):
    return FetchSettings(**{"allow_private": True, "timeout_s": 5.0, "backoff_s": 0.01, **given})


def test_a_page_as_it_came():
    with serving({"/a": page("<p>hällo", "text/HTML; Charset=UTF-8", X_Note="seen")}) as server:
        found = fetch(server.url("/a?q=1#part"), local())
    assert (found.content, found.media_type, found.charset) == ("<p>hällo".encode(), "text/html", "utf-8")
    assert found.url == server.url("/a?q=1#part")
    assert found.final_url == server.url("/a?q=1")
    assert found.headers["x-note"] == "seen"
    assert server.requests[-1].path == "/a?q=1"
    assert server.requests[-1].headers["user-agent"].startswith("Foveal (+https://")


def test_redirects_are_followed():
    with serving({"/a": redirect("/b", 301), "/b": redirect("c?x=1"), "/c": page("there")}) as server:
        found = fetch(server.url("/a"), local())
    assert found.final_url == server.url("/c?x=1")
    assert found.content == b"there"


@pytest.mark.parametrize(
    ("statuses", "moved"), [((301, 308), "/c"), ((301, 302), "/b"), ((302, 301), ""), ((307, 303), "")]
)
def test_where_a_page_moved_for_good_is_told(statuses, moved):
    first, second = statuses
    routes = {"/a": redirect("/b", first), "/b": redirect("/c", second), "/c": page("there")}
    with serving(routes) as server:
        assert fetch(server.url("/a"), local()).moved_to == (server.url(moved) if moved else "")
        assert fetch(server.url("/c"), local()).moved_to == ""


def test_a_redirect_loop_ends():
    with serving({"/a": redirect("/b"), "/b": redirect("/a")}) as server:
        with pytest.raises(FetchFailed, match="redirects more than 5 times"):
            fetch(server.url("/a"), local())
        assert server.asked("/a") + server.asked("/b") == 6


@pytest.mark.parametrize(
    ("status", "advice"),
    [(404, "Check the address"), (403, "Save the page"), (410, "web.archive.org"), (500, "Try again")],
)
def test_a_status_that_is_an_error(status, advice):
    with (
        serving({"/a": page("no", status=status)}) as server,
        pytest.raises(FetchFailed, match=f"status {status}.*{advice}"),
    ):
        fetch(server.url("/a"), local())


def test_a_status_may_be_accepted():
    with serving({"/a": page("why", status=400)}) as server:
        found = fetch(server.url("/a"), local(), accept=(200, 400))
    assert (found.status, found.content) == (400, b"why")


# size


def test_a_stated_length_and_an_endless_body_are_both_cut_off():
    with serving({"/stated": page("x" * 2000), "/endless": endless()}) as server:
        for path in ("/stated", "/endless"):
            with pytest.raises(FetchFailed, match=r"more than 1,999 bytes.*max_file_mb of foveal\.toml"):
                fetch(server.url(path), local(max_bytes=1999))
        assert len(fetch(server.url("/stated"), local(max_bytes=2000)).content) == 2000


def test_gzip_is_unpacked_and_a_bomb_is_cut_off():
    with serving({"/good": gzipped(b"word " * 1000), "/bomb": gzipped(b"\0" * 50_000_000)}) as server:
        assert fetch(server.url("/good"), local()).content == b"word " * 1000
        with pytest.raises(FetchFailed, match="more than 1,000,000 bytes"):
            fetch(server.url("/bomb"), local(max_bytes=1_000_000))


def test_gzip_within_gzip_is_not_unpacked_twice():
    twice = gzip.compress(gzip.compress(b"\0" * 10_000_000))
    refused = pytest.raises(FetchFailed, match="packed with 'gzip, gzip'")
    with serving({"/a": page(twice, Content_Encoding="gzip, gzip")}) as server, refused:
        fetch(server.url("/a"), local())


def test_gzip_of_several_members_is_read_to_its_end():
    several = gzip.compress(b"one ") + gzip.compress(b"") + gzip.compress(b"two " * 1000)
    routes = {path: page(sent, Content_Encoding="gzip") for path, sent in (("/a", several), ("/b", several[:-9]))}
    with serving(routes) as server:
        assert fetch(server.url("/a"), local()).content == b"one " + b"two " * 1000
        with pytest.raises(FetchFailed, match="more than 999 bytes"):
            fetch(server.url("/a"), local(max_bytes=999))
        with pytest.raises(FetchFailed, match="the gzip data stops early"):
            fetch(server.url("/b"), local())


def test_what_stands_behind_gzip_is_not_waited_for():
    def route(call):
        call.start(200, {"Content-Type": "text/plain", "Content-Encoding": "gzip"})
        call.write(gzip.compress(b"all of it"))
        while not call.ended.is_set():
            call.write(b"\0" * 4096)

    with serving({"/a": route}) as server:
        assert fetch(server.url("/a"), local()).content == b"all of it"


def test_damaged_and_cut_gzip():
    good = gzip.compress(b"words " * 1000)
    with serving(
        {"/cut": page(good[:-9], Content_Encoding="gzip"), "/bad": page(zlib.compress(b"x"), Content_Encoding="gzip")}
    ) as server:
        with pytest.raises(FetchFailed, match="the gzip data stops early"):
            fetch(server.url("/cut"), local())
        with pytest.raises(FetchFailed, match="damaged gzip data"):
            fetch(server.url("/bad"), local())


# time


@pytest.mark.parametrize(
    "route", [silent(), dripping(), dripping(head=True)], ids=["silent", "body drips", "head drips"]
)
def test_a_server_that_takes_too_long_is_left_at_the_deadline(route):
    with serving({"/a": route}) as server:
        start = time.monotonic()
        with pytest.raises(FetchFailed, match=r"did not answer in full within 0\.5 s\. Try again later, or download"):
            fetch(server.url("/a"), local(timeout_s=0.5))
        assert time.monotonic() - start < 1.5


def test_a_robots_txt_that_takes_too_long_counts_as_well():
    with serving({"/robots.txt": silent(), "/a": page("x")}) as server:
        start = time.monotonic()
        with pytest.raises(FetchFailed, match=r"robots\.txt did not answer"):
            fetch(server.url("/a"), local(timeout_s=0.5))
        assert time.monotonic() - start < 1.5


def test_nothing_listens():
    with pytest.raises(FetchFailed, match="could not be reached"):
        fetch(dead_url(), local())


def test_trouble_that_passes_is_tried_again():
    routes = in_turn(page("", status=503, Retry_After="0"), broken(), page("there"))
    with serving({"/a": routes}) as server:
        assert fetch(server.url("/a"), local()).content == b"there"
        assert server.asked("/a") == 3


@pytest.mark.parametrize(
    ("route", "reason"), [(page("", status=429), "answered with status 429"), (broken(), "broke the connection")]
)
def test_trouble_that_stays_is_given_up(route, reason):
    with serving({"/a": route}) as server:
        with pytest.raises(FetchFailed, match=f"{reason}.*3 times. Try again later"):
            fetch(server.url("/a"), local())
        assert server.asked("/a") == 3


def test_retry_after_is_waited_for():
    with serving({"/a": in_turn(page("", status=429, Retry_After="1"), page("there"))}) as server:
        start = time.monotonic()
        fetch(server.url("/a"), local())
        assert 1.0 <= time.monotonic() - start < 2.0


@pytest.mark.parametrize("when", ["3600", "9" * 400, "Fri, 31 Dec 2999 23:59:59 GMT"])
def test_a_retry_after_beyond_the_deadline_fails_at_once(when):
    with serving({"/a": page("", status=503, Retry_After=when)}) as server:
        start = time.monotonic()
        with pytest.raises(FetchFailed, match=r"is to be asked again in .* may take\. Try again later\.$"):
            fetch(server.url("/a"), local())
        assert time.monotonic() - start < 1.0


@pytest.mark.parametrize("when", ["1 Jan 99999999999999999999 00:00:00", "Mon, 1 Jan 2024 00:00:00 +9999999999999999"])
def test_a_retry_after_that_no_calendar_has_is_none(when):
    with serving({"/a": in_turn(page("", status=503, Retry_After=when), page("there"))}) as server:
        assert fetch(server.url("/a"), local()).content == b"there"


def test_of_a_content_type_made_to_cost_only_the_beginning_is_read():
    with serving({"/a": page("x", f"text/plain; {'x=y; ' * 1000} charset=utf-8")}) as server:
        found = fetch(server.url("/a"), local())
    assert (found.media_type, found.charset) == ("text/plain", None)


# place


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *("255.255.255.255", "192.0.2.1", "::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1"),
        *("fec0::1", "::127.0.0.1", "64:ff9b::10.0.0.1", "2002:7f00:1::", "2001:0:4136:e378:8000:63bf:80ff:fffe"),
    ],
)
def test_addresses_that_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_addresses_that_are_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433", "0x7f.1"]
)
def test_this_machine_is_refused_under_all_its_names(host):
    with serving({"/a": page("secret")}) as server:
        with pytest.raises(FetchFailed, match=r"of this machine or a private network.*allow_private"):
            fetch(server.url("/a", host=host), FetchSettings(timeout_s=5))
        assert server.requests == []


def test_every_address_of_a_name_must_be_public(monkeypatch):
    answers(monkeypatch, "8.8.8.8", "10.0.0.1")
    guard = GuardedBackend(until=time.monotonic() + 5, allow_private=False)
    with pytest.raises(FetchFailed, match=r"name\.example is at 10\.0\.0\.1"):
        guard.connect_tcp("name.example", 80)


def test_the_name_is_resolved_once_and_the_socket_goes_to_that_address(monkeypatch):
    """DNS rebinding: were the name resolved anew for the connection, the second answer would be taken."""
    with serving({"/a": page("there")}) as server:
        asked = answers(monkeypatch, "8.8.8.8", then="127.0.0.1")
        reached = internet(monkeypatch, {"8.8.8.8": server.port})
        found = fetch("http://name.example/a", FetchSettings(timeout_s=5, respect_robots=False))
        assert found.content == b"there"
        assert server.requests[-1].headers["host"] == "name.example"
        assert (asked, reached) == (["name.example"], [("8.8.8.8", 80)])
        with pytest.raises(FetchFailed, match=r"name\.example is at 127\.0\.0\.1"):
            fetch("http://name.example/a", FetchSettings(timeout_s=5, respect_robots=False))
        assert len(reached) == 1


def test_a_redirect_to_a_private_address_is_refused(monkeypatch):
    with serving({"/secret": page("secret")}) as inside:
        with serving({"/a": redirect(inside.url("/secret"))}) as outside:
            answers(monkeypatch, "8.8.8.8")
            internet(monkeypatch, {"8.8.8.8": outside.port})
            with pytest.raises(FetchFailed, match=r"127\.0\.0\.1 is at 127\.0\.0\.1.*allow_private"):
                fetch("http://name.example/a", FetchSettings(timeout_s=5))
            assert outside.asked("/a") == 1
        assert inside.requests == []


def answers(monkeypatch, *addresses, then=None):
    """The system's resolver, with these answers for name.example: first `addresses`, `then` another."""
    real, asked = socket.getaddrinfo, []

    def resolver(host, port, *given, **named):
        if host != "name.example":
            return real(host, port, *given, **named)
        found = [then] if asked and then else addresses
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    return asked


def internet(monkeypatch, ports):
    """The network, in which connections to public addresses end at ports of this machine; gives those that are made."""
    real, reached = socket.create_connection, []

    def connect(address, *given, **named):
        reached.append(address)
        return real(("127.0.0.1", ports[address[0]]), *given, **named)

    monkeypatch.setattr(socket, "create_connection", connect)
    return reached


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/", "http://user:pw@127.0.0.1/"]
)
def test_a_redirect_to_another_scheme_or_with_credentials_is_refused(target):
    with serving({"/a": redirect(target)}) as server, pytest.raises(FetchFailed):
        fetch(server.url("/a"), local())


@pytest.mark.parametrize("target", ["http://[x]/", "//xn--a/", "http://h:x/", "//["])
@pytest.mark.parametrize("path", ["/a", "/robots.txt"])
def test_a_redirect_to_what_is_no_address_is_refused(path, target):
    refused = pytest.raises(FetchFailed, match=r"redirects to .*Check it")
    with serving({"/a": page("x"), path: redirect(target)}) as server, refused:
        fetch(server.url("/a"), local())


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.org/",
        "example.org",
        "",
        "http://",
        "http://a:b@example.org/",
        "http://x:99999/",
        "http://[::1",
    ],
)
def test_addresses_that_cannot_be_fetched(url):
    with pytest.raises(FetchFailed):
        fetch(url, local())


def test_credentials_are_not_repeated_in_the_error():
    with pytest.raises(FetchFailed) as error:
        fetch("http://me:hunter2@example.org/", local())
    assert "hunter2" not in str(error.value)


def test_a_name_that_does_not_exist():
    with pytest.raises(FetchFailed, match="could not be resolved"):
        fetch("http://no-such-name.invalid/", FetchSettings(timeout_s=5))


def test_a_resolver_that_hangs_is_left_in_time(monkeypatch):
    released = threading.Event()

    def hang(*given, **named):
        released.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    start = time.monotonic()
    with pytest.raises(FetchFailed, match="was not resolved within"):
        resolved("name.example", 80, timeout=0.2)
    released.set()
    assert time.monotonic() - start < 1.0


def test_the_connection_has_the_deadline_too():
    with pytest.raises(httpcore.ReadTimeout):
        GuardedBackend(until=time.monotonic() - 1, allow_private=True).connect_tcp("127.0.0.1", 1)


def test_a_proxy_of_the_environment_is_used_only_when_asked_for(monkeypatch):
    with serving({"/a": page("direct")}) as server, serving({}) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url("/"))
        monkeypatch.delenv("no_proxy", raising=False)
        assert fetch(server.url("/a"), local()).content == b"direct"
        assert proxy.requests == []
        with pytest.raises(FetchFailed, match="status 404"):
            fetch(server.url("/a"), local(trust_env=True, respect_robots=False))
        assert proxy.requests[-1].path == server.url("/a")


# manners


def test_robots_txt_is_respected_asked_for_once_and_may_be_set_aside():
    robots = page("User-agent: foveal\nDisallow: /private/*.html$\n\nUser-agent: *\nDisallow: /", "text/plain")
    with serving({"/robots.txt": robots, "/open": page("x"), "/private/a.html": page("y")}) as server:
        assert fetch(server.url("/open"), local()).content == b"x"
        with pytest.raises(FetchFailed, match=r"robots\.txt of .* asks programs not to read"):
            fetch(server.url("/private/a.html"), local())
        assert server.asked("/robots.txt") == 1
        assert server.asked("/private/a.html") == 0
        assert fetch(server.url("/private/a.html"), local(respect_robots=False)).content == b"y"


def test_a_robots_txt_in_trouble_closes_the_site_and_none_opens_it():
    with (
        serving({"/robots.txt": page("", status=500), "/a": page("x")}) as server,
        pytest.raises(FetchFailed, match="asks programs"),
    ):
        fetch(server.url("/a"), local())
    with serving({"/a": page("x")}) as server:
        assert fetch(server.url("/a"), local()).content == b"x"


def test_a_redirect_is_checked_against_the_other_sites_robots_txt():
    with serving({"/robots.txt": page("User-agent: *\nDisallow: /", "text/plain"), "/b": page("x")}) as closed:
        with serving({"/a": redirect(closed.url("/b"))}) as first, pytest.raises(FetchFailed, match="asks programs"):
            fetch(first.url("/a"), local())
        assert closed.asked("/b") == 0


def test_a_page_that_has_not_changed_is_not_sent_again(tmp_path):
    def route(call):
        if call.asked.headers.get("if-none-match") == '"v1"':
            call.start(304)
        else:
            page("first", "text/plain", ETag='"v1"')(call)

    with serving({"/a": in_turn(route, route, page("second", "text/plain", ETag='"v2"'))}) as server:
        settings = local(cache=tmp_path / "pages")
        first, again, changed = (fetch(server.url("/a"), settings) for _ in range(3))
    assert (first.content, first.from_cache) == (b"first", False)
    assert (again.content, again.media_type, again.from_cache) == (b"first", "text/plain", True)
    assert (changed.content, changed.from_cache) == (b"second", False)


def test_a_damaged_or_forbidden_copy_is_not_used(tmp_path):
    with serving(
        {"/a": page("x", ETag='"1"'), "/b": page("y", ETag='"1"', Cache_Control="no-store"), "/c": page("z")}
    ) as server:
        for path in ("/a", "/b", "/c"):
            fetch(server.url(path), local(cache=tmp_path))
        [kept] = tmp_path.glob("*.page")
        kept.write_bytes(kept.read_bytes()[:-1])
        assert fetch(server.url("/a"), local(cache=tmp_path)).content == b"x"
        assert "if-none-match" not in server.requests[-1].headers


def test_a_cache_that_cannot_be_written_only_loses_the_copy(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with serving({"/a": page("x", ETag='"1"')}) as server:
        assert fetch(server.url("/a"), local(cache=tmp_path / "file")).content == b"x"


@pytest.mark.parametrize("wrong", [{"timeout_s": 0}, {"max_bytes": -1}, {"max_redirects": -1}, {"retries": -1}])
def test_settings_are_checked(wrong):
    with pytest.raises(InputError, match="limit that is negative"):
        FetchSettings(**wrong)


def test_headers_of_the_caller_reach_its_site_and_no_other():
    with serving({"/there": page("x")}) as other:
        routes = {"/here": redirect("/next"), "/next": redirect(other.url("/there"))}
        with serving(routes) as server:
            fetch(server.url("/here"), local(), headers={"authorization": "Bearer s3cret"})
            sent = {asked.path: asked.headers.get("authorization") for asked in server.requests}
    assert sent == {"/here": "Bearer s3cret", "/next": "Bearer s3cret", "/robots.txt": None}
    assert all("authorization" not in asked.headers for asked in other.requests)


def test_a_condition_of_the_caller_is_answered_by_304():
    def route(call):
        same = call.asked.headers.get("if-none-match") == '"1"'
        call.start(304 if same else 200, {"ETag": '"1"'})

    with serving({"/feed": route}) as server:
        first = fetch(server.url("/feed"), local(), accept=(200, 304))
        again = fetch(server.url("/feed"), local(), accept=(200, 304), headers={"if-none-match": '"1"'})
    assert (first.status, again.status, again.headers["etag"]) == (200, 304, '"1"')


def test_a_status_that_is_accepted_is_not_asked_again_for():
    with serving({"/limit": page("", status=429, Retry_After="60", X_RateLimit_Remaining="0")}) as server:
        found = fetch(server.url("/limit"), local(), accept=(200, 429))
        assert server.asked("/limit") == 1
    assert found.headers["x-ratelimit-remaining"] == "0"
