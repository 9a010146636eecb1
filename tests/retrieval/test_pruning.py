"""The address that a name stands for: what `add` stored it by."""

from __future__ import annotations

import pytest

from foveal.retrieval.pruning import address_of


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("arxiv:2103.00020", "arxiv:2103.00020"),
        ("ArXiv:2103.00020v1", "arxiv:2103.00020v1"),
        ("https://arxiv.org/abs/2103.00020", "arxiv:2103.00020"),
        ("note:of-somebody", "note:of-somebody"),
    ],
)
def test_a_name_of_no_file_is_an_address(given, address):
    assert address_of(given) == address


def test_a_file_with_a_colon_in_its_name_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "todo:today.md").touch()
    assert address_of("todo:today.md") == (tmp_path / "todo:today.md").resolve().as_uri()
    assert address_of("gone.md") == (tmp_path / "gone.md").resolve().as_uri()
    own = (tmp_path / "a b.md").resolve().as_uri()
    assert address_of(own) == own
    assert address_of(str(tmp_path / "a b.md")) == own
