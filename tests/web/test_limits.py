"""How often one address may ask: a bucket by its plain definition, addresses that can be believed, the answer 429."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest
from fastapi import Request
from honest import document
from hypothesis import given
from hypothesis import strategies as st
from paper_site import records, site_app
from reading_site import made_app
from starlette.testclient import TestClient
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from foveal.errors import InputError
from foveal.web.limits import MOST_ADDRESSES, SHARED, Limits, address_of, people_at
from foveal.web.request_limits import asked_by, uploading
from foveal.web.serving import server_config
from foveal.web.settings import WebSettings


@given(st.lists(st.floats(0, 30), max_size=40), st.integers(1, 5))
def test_a_bucket_holds_a_period_and_fills_evenly(gaps, allowed):
    """Slow definition: what is left is counted forward from the beginning, request by request."""
    now = [0.0]
    limits = Limits(clock=lambda: now[0])
    left, last = float(allowed), 0.0
    for gap in gaps:
        now[0] += gap
        left = min(allowed, left + (now[0] - last) * allowed / 60)
        last = now[0]
        if abs(left - 1) < 1e-9:
            return  # on the edge, rounding decides
        wait = limits.wait("search", "a", allowed)
        assert (wait == 0) == (left >= 1)
        if wait:
            assert math.isclose(wait, (1 - left) * 60 / allowed, rel_tol=1e-6, abs_tol=1e-6)
        else:
            left -= 1


def test_a_request_may_count_for_many_and_at_most_for_all():
    now = [0.0]
    limits = Limits(clock=lambda: now[0])
    assert limits.wait("search", "a", 6, 4) == 0
    assert math.isclose(limits.wait("search", "a", 6, 4), 20)  # two are left, and ten seconds bring one
    assert limits.wait("search", "a", 6) == 0  # what was refused took nothing
    now[0] += 50
    assert limits.wait("search", "a", 6, 100) == 0
    assert limits.wait("search", "a", 6) > 0


def test_addresses_do_not_spend_each_others_and_are_forgotten_in_the_end():
    limits = Limits(clock=lambda: 0.0)
    assert limits.wait("search", "a", 1) == 0
    assert limits.wait("search", "a", 1) > 0
    assert limits.wait("search", "b", 1) == 0
    assert limits.wait("api", "a", 1) == 0
    for number in range(MOST_ADDRESSES):
        limits.wait("search", f"c{number}", 1)
    assert limits.wait("search", "a", 1) == 0


@pytest.mark.parametrize(
    ("client", "forwarded", "trusted", "address"),
    [
        ("9.9.9.9", "1.2.3.4", (), "9.9.9.9"),
        ("9.9.9.9", "1.2.3.4", ("9.9.9.9",), "1.2.3.4"),
        ("9.9.9.9", "6.6.6.6, 1.2.3.4", ("9.9.9.9",), "1.2.3.4"),
        ("9.9.9.9", "1.2.3.4, 8.8.8.8", ("9.9.9.9", "8.8.8.8"), "1.2.3.4"),
        ("9.9.9.9", "", ("9.9.9.9",), "9.9.9.9"),
        ("2001:db8:1:2:3:4:5:6", "", (), "2001:db8:1:2::/64"),
        ("testclient", "", (), "testclient"),
    ],
)
def test_only_a_trusted_proxy_is_believed(client, forwarded, trusted, address):
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    request = Request({"type": "http", "client": (client, 1), "headers": headers})
    assert address_of(request, trusted) == address


def test_searches_of_the_library_count_too(tmp_path: Path):
    app = made_app(tmp_path, search_per_minute=2)
    app.state.site.library.add_documents([document("a", "The mill stands at the river.")])
    client = TestClient(app, base_url="http://localhost")
    assert [client.get("/library?q=mill").status_code for _ in range(3)] == [200, 200, 429]
    assert client.get("/library").status_code == 200
    app.state.site.close()


@pytest.mark.parametrize(("client", "address"), [("10.1.2.3", "1.2.3.4"), ("10.2.0.1", "10.2.0.1")])
def test_proxies_of_a_network_are_named_in_the_home(tmp_path: Path, client: str, address: str):
    """Both where requests are counted and where uvicorn says by which scheme somebody came."""
    (tmp_path / "foveal.toml").write_text('[web]\ntrusted_proxies = "10.1.0.0/16, 10.9.9.9"\n')
    app = made_app(tmp_path)
    headers = [(b"x-forwarded-for", b"6.6.6.6, 1.2.3.4, 10.9.9.9"), (b"x-forwarded-proto", b"https")]
    scope = {"type": "http", "client": (client, 1), "headers": headers, "app": app, "scheme": "http"}
    assert asked_by(Request(dict(scope))) == address
    config = server_config(app, lifespan="off")
    seen = {}

    async def look(scope, receive, send):
        seen.update(scope)

    asyncio.run(ProxyHeadersMiddleware(look, config.forwarded_allow_ips)(dict(scope), None, None))
    assert (seen["client"][0], seen["scheme"]) == (address, "https" if address == "1.2.3.4" else "http")
    app.state.site.close()


@pytest.mark.parametrize(
    ("address", "people"),
    [
        ("203.0.113.7", SHARED),
        ("203.0.113.8", 1),
        ("10.20.30.40", SHARED),
        ("11.0.0.1", 1),
        ("2001:db8:1:2::/64", SHARED),
        ("2001:db8:1:3::/64", 1),
        ("2001:db8:ffff:ffff::/64", 1),
        ("2001:db9::/64", SHARED),
        ("testclient", 1),
        ("", 1),
    ],
)
def test_an_office_may_do_as_much_as_its_people(address: str, people: int):
    shared = WebSettings(shared_addresses="203.0.113.7, 10.0.0.0/8, 2001:db8:1:2::5, 2001:db9::/32").shared
    assert people_at(address, shared) == people


def test_people_of_an_office_search_side_by_side(tmp_path: Path):
    """Strangers are held to the limits that they had."""
    (tmp_path / "foveal.toml").write_text('[web]\nshared_addresses = "203.0.113.0/24"\n')
    app = site_app(tmp_path, records(12), search_per_minute=2, trusted_proxies=("testclient",))
    client = TestClient(app)
    for address, answered in (("203.0.113.9", 5), ("198.51.100.1", 2)):
        told = [client.get("/papers?q=attention", headers={"x-forwarded-for": address}) for _ in range(5)]
        assert sum(one.status_code == 200 for one in told) == answered
    scope = {"type": "http", "app": app, "headers": []}
    assert uploading(Request({**scope, "client": ("198.51.100.1", 1)})) == "198.51.100.1"
    assert uploading(Request({**scope, "client": ("203.0.113.9", 1)})) == ""
    assert uploading(Request({**scope, "client": ("127.0.0.1", 1)})) == ""
    assert app.state.site.jobs.people("203.0.113.9") == SHARED


def test_a_proxy_that_is_no_address_is_said(tmp_path: Path):
    with pytest.raises(InputError, match=r"trusted_proxies got 'proxy\.local'; it needs addresses or networks"):
        WebSettings(trusted_proxies="10.0.0.7, proxy.local")
    with pytest.raises(InputError, match=r"shared_addresses got 'office'; it needs addresses or networks"):
        WebSettings(shared_addresses="office")


def test_too_many_searches_get_a_page_and_too_many_calls_json(tmp_path: Path):
    client = TestClient(site_app(tmp_path, records(12), search_per_minute=2, api_per_hour=1))
    assert [client.get("/papers?q=attention").status_code for _ in range(3)] == [200, 200, 429]
    page = client.get("/papers?q=attention")
    assert page.headers["content-type"].startswith("text/html")
    assert "more than 2 requests" in page.text
    assert 1 <= int(page.headers["retry-after"]) <= 30
    assert client.get("/papers/trending").status_code == 200
    assert client.get("/api/daily_papers").status_code == 200
    refused = client.get("/api/daily_papers")
    assert refused.status_code == 429
    assert "more than 1 requests" in refused.json()["error"]
    assert "retry-after" in refused.headers
