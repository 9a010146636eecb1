import gzip
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from honest import HashedWords

from foveal.bench.settings import BenchSettings, default_data
from foveal.errors import InputError


@dataclass(frozen=True)
class Counting(HashedWords):
    """An encoder that remembers how many texts it was given."""

    seen: list[int] = field(default_factory=list)

    def encode(self, texts):
        self.seen.append(len(texts))
        return super().encode(texts)


@pytest.fixture
def settings(tmp_path):
    return BenchSettings(data=tmp_path / "data", cache=tmp_path / "cache")


def test_vectors_are_encoded_once(settings):
    encoder = Counting()
    first = settings.cached_vectors(("toy", "corpus"), ["a b", "c"], encoder)
    again = settings.cached_vectors(("toy", "corpus"), ["a b", "c"], encoder)
    assert encoder.seen == [2]
    assert first.dtype == again.dtype == np.float32
    assert np.array_equal(first, again)
    assert np.array_equal(first, encoder.encode(["a b", "c"]))
    assert [path.name.rpartition("-")[0] for path in (settings.cache / "vectors").iterdir()] == ["toy-corpus"]


@pytest.mark.parametrize("texts", [["a", "bc"], ["abc"], ["ab", "c", ""], ["c", "ab"]])
def test_other_texts_get_other_vectors(settings, texts):
    encoder = Counting()
    settings.cached_vectors(("toy",), ["ab", "c"], encoder)
    assert np.array_equal(settings.cached_vectors(("toy",), texts, encoder), HashedWords().encode(texts))


def test_another_encoder_gets_its_own_vectors(settings):
    settings.cached_vectors(("toy",), ["a"], HashedWords())
    salted = HashedWords(salt="2")
    assert np.array_equal(settings.cached_vectors(("toy",), ["a"], salted), salted.encode(["a"]))


def test_encoding_cut_short_leaves_nothing(settings):
    class Interrupted(HashedWords):
        def encode(self, texts):
            raise KeyboardInterrupt(f"while encoding {len(texts)} texts")

    with pytest.raises(KeyboardInterrupt):
        settings.cached_vectors(("toy",), ["a"], Interrupted())
    assert list(settings.cache.rglob("*.npy")) == []


def test_a_data_set_is_found_packed_or_not(settings):
    folder = settings.data / "toy"
    folder.mkdir(parents=True)
    (folder / "corpus.jsonl.gz").touch()
    (folder / "queries.jsonl").touch()
    assert settings.folder("toy", ("corpus.jsonl", "queries.jsonl")) == folder
    with pytest.raises(InputError, match=r"lacks qrels/test\.tsv.*FOVEAL_DATA.*corpus\.jsonl"):
        settings.folder("toy", ("corpus.jsonl", "qrels/test.tsv"))
    with pytest.raises(InputError, match=r"lacks everything.*--data"):
        settings.folder("other", ())


def test_data_is_named_by_the_environment(monkeypatch):
    monkeypatch.setenv("FOVEAL_DATA", "/somewhere")
    assert BenchSettings(cache=Path()).data == Path("/somewhere")
    monkeypatch.delenv("FOVEAL_DATA")
    assert default_data() == Path("../shared/data")


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_may_be_packed(settings, packed):
    folder = settings.data / "toy"
    folder.mkdir(parents=True)
    content = "ein Buch, 本".encode()
    path = folder / ("book.txt.gz" if packed else "book.txt")
    path.write_bytes(gzip.compress(content) if packed else content)
    assert settings.file("toy", "book.txt") == path
    assert settings.text("toy", "book.txt") == "ein Buch, 本"


def test_a_file_that_is_missing_or_damaged_is_named(settings):
    (settings.data / "toy").mkdir(parents=True)
    with pytest.raises(InputError, match=r"book\.txt"):
        settings.text("toy", "book.txt")
    (settings.data / "toy" / "book.txt.gz").write_bytes(gzip.compress(b"a book")[:-6])
    with pytest.raises(InputError, match=r"book\.txt\.gz"):
        settings.text("toy", "book.txt")
