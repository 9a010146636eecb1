"""`foveal admin user` and `foveal admin audit`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foveal.cli.main import app
from foveal.errors import FovealError, InputError


def run(home: Path, *words: str, given: str | None = None) -> str:
    done = CliRunner().invoke(app, ["admin", *words, "--home", str(home)], input=given)
    if done.exception is not None and isinstance(done.exception, FovealError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_people_are_added_listed_given_roles_exported_and_removed(tmp_path: Path) -> None:
    assert "Nobody yet" in run(tmp_path, "user", "list")
    assert "ana <ana@example.org>: admin" in run(
        tmp_path, "user", "add", "ana@EXAMPLE.org", "--role", "admin", "--login", "ana", "--name", "Ana [b]F"
    )
    made = json.loads(run(tmp_path, "user", "add", "bo@example.org", "--json"))
    assert (made["role"], made["email"]) == ("member", "bo@example.org")
    assert run(tmp_path, "user", "role", "bo@example.org", "curator") == f"{made['login']}: curator.\n"
    shown = run(tmp_path, "user", "list")
    assert "Ana [b]F" in shown
    assert [one["role"] for one in json.loads(run(tmp_path, "user", "list", "--json"))] == ["admin", "curator"]

    out = tmp_path / "bo.json"
    run(tmp_path, "user", "export", "bo@example.org", "--out", str(out))
    assert json.loads(out.read_text(encoding="utf-8"))["account"]["email"] == "bo@example.org"
    assert json.loads(run(tmp_path, "user", "export", "ana"))["account"]["name"] == "Ana [b]F"

    refused = CliRunner().invoke(
        app, ["admin", "user", "remove", "bo@example.org", "--home", str(tmp_path)], input="n\n"
    )
    assert refused.exit_code == 1
    assert "deleted" in run(tmp_path, "user", "remove", "bo@example.org", given="y\n")
    assert len(json.loads(run(tmp_path, "user", "list", "--json"))) == 1
    acts = json.loads(run(tmp_path, "audit", "--json"))
    assert [act["action"] for act in acts] == ["delete person", "set role", "add person", "add person"]
    assert "delete person" in run(tmp_path, "audit", "-n", "1")
    assert "Nothing was done" in run(tmp_path, "audit", "--target", "person:nobody")


def test_an_invitation_needs_mail_before_anybody_is_added(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"foveal.toml says: host, sender, url, postal"):
        run(tmp_path, "user", "add", "bo@example.org", "--invite")
    assert "Nobody yet" in run(tmp_path, "user", "list")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("user", "add", "nonsense"), "no e-mail address"),
        (("user", "add", "a@example.org", "--role", "king"), "There are: member, curator, moderator, admin"),
        (("user", "role", "nobody", "admin"), "Nobody here is called"),
        (("user", "remove", "nobody", "-y"), "Nobody here is called"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(FovealError, match=message):
        run(tmp_path, *words)


def test_a_token_is_printed_alone_listed_without_it_and_revoked(tmp_path: Path) -> None:
    run(tmp_path, "user", "add", "ana@example.org", "--login", "ana")
    assert "None." in run(tmp_path, "token", "list")
    secret = run(tmp_path, "token", "add", "ana", "nightly [b]import", "--days", "30").strip()
    assert re.fullmatch(r"foveal_[\w-]{43}", secret)
    shown = run(tmp_path, "token", "list", "ana")
    assert "nightly [b]import" in shown
    assert "never" in shown
    assert secret not in shown + run(tmp_path, "token", "list", "--json") + run(tmp_path, "audit", "--json")
    assert "'nightly [b]import' is revoked." in run(tmp_path, "token", "revoke", "1")
    assert json.loads(run(tmp_path, "token", "list", "--json")) == []
    acts = json.loads(run(tmp_path, "audit", "--target", "person:ana", "--json"))
    assert [act["action"] for act in acts] == ["revoke token", "make token", "add person"]
    with pytest.raises(FovealError, match="no token 1 here"):
        run(tmp_path, "token", "revoke", "1")
    with pytest.raises(FovealError, match="Nobody here is called"):
        run(tmp_path, "token", "add", "nobody", "x")
