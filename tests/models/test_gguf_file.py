"""The container of a GGUF file: facts and tensors as llama.cpp's own reader has them; hostile ones refused at once."""

from __future__ import annotations

import struct
import tracemalloc

import gguf
import numpy as np
import pytest
from models.tiny_gguf import write_gguf

from foveal.models.gguf_file import Facts, GgufFile, is_gguf, read_file


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def tensor(name: str = "w", shape: tuple[int, ...] = (8,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def container(facts: list[bytes], tensors: list[bytes], *, data: int = 64, version: int = 3, **stated: int) -> bytes:
    told = struct.pack("<IQQ", version, stated.get("n_tensors", len(tensors)), stated.get("n_facts", len(facts)))
    head = b"GGUF" + told + b"".join(facts) + b"".join(tensors)
    return head + b"\0" * (-len(head) % 32) + b"\0" * data


def fact(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def many(kind: int, count: int, content: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + content


def test_facts_and_tensors_are_those_of_the_formats_own_reader(tmp_path):
    write_gguf(tmp_path / "model.gguf", "gemma3", generator=np.random.default_rng(7))
    ours, theirs = read_file(tmp_path / "model.gguf"), gguf.GGUFReader(tmp_path / "model.gguf")
    fields = {key: field.contents() for key, field in theirs.fields.items() if not key.startswith("GGUF.")}
    assert ours.facts == fields
    assert list(ours.tensors) == [one.name for one in theirs.tensors]
    for one in theirs.tensors:
        found = ours.tensors[one.name]
        assert found.shape == tuple(reversed(one.shape.tolist()))
        assert (found.kind, found.rows.tobytes()) == (one.tensor_type, one.data.tobytes())


HOSTILE = {
    "other": (b"PK\3\4" + b"\0" * 40, "does not begin as a GGUF file does"),
    "short": (b"GGUF\3\0\0\0", "does not begin as a GGUF file does"),
    "version": (container([], [], version=1), "GGUF version 1; read are 2 and 3"),
    "big-endian": (container([], [], version=3 << 24), "of little-endian machines"),
    "many tensors": (container([], [], n_tensors=2**60), "states 1152921504606846976 tensors"),
    "many facts": (container([], [], n_facts=2**40), "1099511627776 facts"),
    "facts to the end": (container([], [], data=0, n_facts=9), "ends in the midst of its head"),
    "long key": (container([struct.pack("<Q", 2**62)], [], n_facts=1), "ends in the midst of its head"),
    "long list": (container([fact("a", 9, many(0, 2**50))], []), "a list of 1125899906842624; all lists"),
    "long texts": (container([fact("a", 9, many(8, 2**23))], []), "ends in the midst of its head"),
    "lists in lists": (container([fact("a", 9, many(9, 2**23))], []), "a fact of the type 9, which there is not"),
    "type": (container([fact("a", 77, b"\0" * 8)], []), "a fact of the type 77"),
    "no text": (
        container([fact("a", 8, struct.pack("<Q", 2) + b"\xc3\x28")], []),
        "a text that is no UTF-8, at its byte 45",
    ),
    "twice": (container([fact("a", 4, b"\0" * 4)] * 2, []), "states 'a' twice"),
    "alignment": (container([fact("general.alignment", 4, b"\3\0\0\0")], [tensor()]), "no power of two"),
    "no alignment": (container([fact("general.alignment", 4, b"\0" * 4)], [tensor()]), "no power of two"),
    "dimensions": (container([], [text("w") + struct.pack("<I", 2**31)]), "2147483648 dimensions"),
    "no sizes": (container([], [tensor(shape=(0, 8))]), r"has the sizes \(8, 0\)"),
    "huge sizes": (container([], [tensor(shape=(2**40, 2**40))]), "has the sizes"),
    "kind": (container([], [tensor(kind=4)]), "packed in the type 4, which is none of today's"),
    "ragged": (container([], [tensor(kind=2, shape=(8,))]), "rows of 8, no multiple of 32"),
    "beyond": (container([], [tensor(offset=64)]), "lies beyond the end of the file"),
    "far beyond": (container([], [tensor(offset=2**63)]), "lies beyond the end of the file"),
    "between": (container([], [tensor(offset=4)]), "or not where one may begin"),
    "one for all": (container([], [tensor(str(n), (16,)) for n in range(3)]), "'1' lies beyond"),
    "same": (container([], [tensor(), tensor()]), "holds the tensor 'w' twice"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_and_costs_nothing(name, tmp_path):
    content, told = HOSTILE[name]
    (tmp_path / "bad.gguf").write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=told):
            read_file(tmp_path / "bad.gguf")
        assert tracemalloc.get_traced_memory()[1] < 3e6
    finally:
        tracemalloc.stop()


def test_what_is_whole_is_read_at_any_alignment(tmp_path):
    head = container([fact("general.alignment", 4, struct.pack("<I", 64))], [tensor(), tensor("b", (2, 3), 1, 64)])
    head = head[:-64] + b"\0" * (-(len(head) - 64) % 64) + np.arange(8, dtype="<f4").tobytes() + b"\0" * 32
    (tmp_path / "model.gguf").write_bytes(head + np.arange(6, dtype="<f2").tobytes())
    found = read_file(tmp_path / "model.gguf").tensors
    assert found["w"].rows.view("<f4").tolist() == [list(range(8))]
    assert (found["b"].shape, found["b"].rows.view("<f2").tolist()) == ((3, 2), [[0, 1], [2, 3], [4, 5]])


def test_facts_are_asked_for_as_what_they_should_be():
    facts = Facts(GgufFile({"a.n": 3, "a.x": 0.5, "a.same": [2, 2], "a.no": True, "a.t": "x"}, {}), "a")
    assert (facts.count("n"), facts.number("x"), facts.count("same"), facts.value("none")) == (3, 0.5, 2, None)
    assert (facts.count("none", 7), facts.number("none", 7.5), facts.has("n"), facts.has("m")) == (7, 7.5, True, False)
    for wrong in ("x", "no", "t"):
        with pytest.raises(ValueError, match=f"it states a.{wrong} = .*, where one number from 1 to"):
            facts.count(wrong)
    for wrong in ("no", "t"):
        with pytest.raises(ValueError, match=f"it states a.{wrong} = .*, where a number above zero"):
            facts.number(wrong)
    with pytest.raises(ValueError, match=r"a\.n = 3, where one number from 1 to 2"):
        facts.count("n", most=2)
    with pytest.raises(KeyError, match=r"it states no a\.none"):
        facts.count("none")
    with pytest.raises(ValueError, match=r"its a\.n is no list of texts"):
        facts.file.texts("a.n")


def test_a_gguf_file_is_known_by_its_name_or_its_first_bytes(tmp_path):
    (tmp_path / "sha256-12").write_bytes(b"GGUF....")
    (tmp_path / "other").write_bytes(b"PK..")
    known = [is_gguf(tmp_path / name) for name in ("sha256-12", "other", "absent", "absent.gguf")]
    assert known == [True, False, False, True]
