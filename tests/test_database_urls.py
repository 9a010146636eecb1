"""What is no URL of a database that can be used is said, and never with its password; nor is a file a home."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveal.database import Database
from foveal.errors import DatabaseError
from foveal.settings import Settings


@pytest.mark.parametrize(
    "url",
    [
        "mysql://ana:hidden@host/name",
        "POSTGRES://ana:hidden@host/name",
        "postgresql://ana:hidden@host:port/name",
        "postgresql+nobody://ana:hidden@host/name",
        "postgresql+pg8000://ana:hidden@host/name",
    ],
)
def test_a_url_that_is_none_is_told_without_its_password(url: str, tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="it needs 'sqlite', or a URL") as told:
        Database.open(Settings(home=tmp_path, cache=tmp_path, database=url))
    assert "hid" not in str(told.value)
    assert "host" in str(told.value)


def test_a_home_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", tmp_path / "file" / "home"):
        with pytest.raises(DatabaseError, match="cannot be made"):
            Database.open(Settings(home=home, cache=tmp_path))
