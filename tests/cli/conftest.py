"""What tests of commands with a tiny model share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def one_thread() -> Iterator[None]:
    """A tiny model is slower with two threads, and much slower where another process has one of the cores."""
    from foveal.models.threads import with_threads

    with with_threads(1):
        yield
