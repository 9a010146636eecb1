"""The home's secret: one for all, for its owner only; tokens that follow from it."""

from __future__ import annotations

import base64
import re
import threading

import pytest

from foveal.errors import InputError
from foveal.papers.secrets import hash_of, new_token, secret_of, token_for


def test_many_at_once_get_the_same_secret_and_nothing_else_is_left(tmp_path):
    found, start = [], threading.Barrier(8)

    def ask():
        start.wait()
        found.append(secret_of(tmp_path / "home"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert len(found[0]) == 32
    [path] = (tmp_path / "home").iterdir()
    assert path.name == "secret.key"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("held", [b"", b"x", b"secret", b"\0" * 32, b"changeme" * 4, b"a" * 64])
def test_what_is_no_secret_is_refused(tmp_path, held):
    (tmp_path / "secret.key").write_bytes(held)
    with pytest.raises(InputError, match="no secret"):
        secret_of(tmp_path)


def test_tokens_follow_from_secret_purpose_and_subject():
    token = token_for(b"k" * 32, "unsubscribe", "seed")
    assert token == token_for(b"k" * 32, "unsubscribe", "seed")
    assert len(base64.urlsafe_b64decode(token + "=")) == 32
    others = [token_for(b"l" * 32, "unsubscribe", "seed"), token_for(b"k" * 32, "x", "seed"), new_token(), new_token()]
    assert len({token, *others}) == 5
    assert hash_of(token) != hash_of(new_token())
    typed = [token_for(b"k" * 32, "unsubscribe", str(seed)) for seed in range(300)]
    assert all(re.fullmatch("[A-Za-z0-9_]{43}", one) for one in typed)  # none is taken for an option of a command
    assert len(hash_of("any \ud800 text")) == 64
