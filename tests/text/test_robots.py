"""robots.txt: which rule counts, and that no file of rules can hang or fill a reader."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.text.robots import ALL_CLOSED, Rule, parse


@pytest.mark.parametrize(
    ("rules", "path", "allowed"),
    [
        ("User-agent: *\nDisallow: /a\nAllow: /a/b", "/a/b/c", True),
        ("User-agent: *\nAllow: /\nDisallow: /a", "/a", False),
        ("User-agent: *\nAllow: /a\nDisallow: /a", "/a", True),
        ("User-agent: *\nDisallow: /*?", "/page?x=1", False),
        ("User-agent: *\nDisallow: /*.pdf$", "/x.pdf", False),
        ("User-agent: *\nDisallow: /*.pdf$", "/x.pdf.html", True),
        ("User-agent: *\nDisallow:", "/a", True),
        ("User-agent: x\nUser-agent: Foveal # us\nDisallow: /a", "/a", False),
        ("User-agent: Foveal\nDisallow:\n\nUser-agent: *\nDisallow: /", "/a", True),
        (
            "User-agent: Foveal\nDisallow: /a\nUser-agent: other\nDisallow: /b\nUser-agent: foveal\nDisallow: /c",
            "/c",
            False,
        ),
        ("Disallow: /a", "/a", True),
        ("User-agent: *\nDisallow: /caf%C3%A9", "/café", False),
        ("<html>not found</html>", "/a", True),
    ],
)
def test_the_rules_of_robots_txt(rules, path, allowed):
    assert parse(rules, "Foveal").allow(path) is allowed
    assert not ALL_CLOSED.allow(path)


def fits_by_definition(pattern: str, path: str) -> bool:
    """RFC 9309: `*` stands for any characters, a `$` at the end for the end of the path."""
    body = pattern.removesuffix("$")
    expression = ".*".join(map(re.escape, body.split("*")))
    return re.match(expression + (r"\Z" if body != pattern else ""), path) is not None


@given(st.text("/ab*$", max_size=8), st.text("/ab$", max_size=10))
def test_wildcards_as_they_are_defined(pattern, path):
    assert Rule(True, pattern).fits(path) is fits_by_definition(pattern, path)


@pytest.mark.parametrize("end", ["b", "b$", "$"])
def test_many_wildcards_cost_no_more_than_their_characters(end):
    """With a regular expression, thirty of them and a path as long took longer than anybody waits."""
    rules = parse(f"User-agent: *\nDisallow: /{'*a' * 50_000}{end}", "Foveal")
    assert rules.allow("/" + "a" * 49_999)
    assert rules.allow("/" + "a" * 60_000) is (end != "$")


def test_a_group_of_many_names_keeps_the_rules_of_ours_alone():
    names = "".join(f"User-agent: robot{n}\n" for n in range(20_000))
    rules = "Disallow: /a\n" * 10_000
    assert len(parse(names + "User-agent: *\n" + rules, "Foveal").rules) == 10_000
    assert parse(names + rules, "Foveal").rules == ()
