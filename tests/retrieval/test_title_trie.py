"""The tree of titles against a plain definition: the set of sequences, looked through."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import InputError, LibraryCorrupt
from foveal.retrieval.title_trie import TitleTrie

END = 0
SEQUENCES = [[5, 6, END], [5, 6, 7, END], [1, 2, END], [9, END], [5, 3, 3, 3, END]]

titles = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=5).map(tuple), min_size=1, max_size=25, unique=True)


def allowed_by_definition(sequences, prefix):
    size = len(prefix)
    return sorted({one[size] for one in sequences if list(one[:size]) == list(prefix) and len(one) > size})


def prefixes(sequences):
    return {tuple(one[:size]) for one in sequences for size in range(len(one) + 1)} | {(7,), (1, 7)}


def check(trie, sequences):
    for prefix in prefixes(sequences):
        assert trie.allowed(prefix).tolist() == allowed_by_definition(sequences, prefix)
    assert len(trie) == len(sequences)
    assert sorted(map(trie.sequence, trie)) == sorted(map(list, sequences))
    for one in sequences:
        assert trie.sequence(trie.find(one)) == list(one)


def test_a_title_may_be_the_beginning_of_another():
    trie = TitleTrie.of(SEQUENCES, END)
    assert trie.allowed([]).tolist() == [1, 5, 9]
    assert trie.allowed([5, 6]).tolist() == [END, 7]
    assert trie.find([5, 6, END]) == 0
    assert trie.find([5, 6, 7, END]) == 1
    assert trie.find([5, END]) is None


def test_behind_an_end_and_off_the_tree_nothing_is_allowed():
    trie = TitleTrie.of(SEQUENCES, END)
    for prefix in ([5, 6, END], [9, END], [4], [5, 6, 7, 7], [END]):
        assert trie.allowed(prefix).tolist() == []


@given(titles)
def test_a_tree_allows_what_its_titles_allow(sequences):
    check(TitleTrie.of([[*one, END] for one in sequences], END), [(*one, END) for one in sequences])


@given(titles, st.data())
def test_a_tree_under_nodes_is_all_that_begins_so_each_behind_the_one_above(sequences, data):
    whole = [(*one, END) for one in sequences]
    trie = TitleTrie.of(whole, END)
    begun = sorted({one[:size] for one in whole for size in range(len(one) + 1)})
    begins = data.draw(st.lists(st.sampled_from(begun), max_size=3, unique=True))
    nodes, above, roots = trie.under(np.array([trie.walk(one) for one in begins], dtype=np.int64))
    written = []
    for place, (node, over, root) in enumerate(zip(nodes.tolist(), above.tolist(), roots.tolist(), strict=True)):
        assert over < place
        written.append(begins[root] if over < 0 else (*written[over], int(trie.token[node])))
        assert trie.walk(written[-1]) == node
    under = [one for begin in begins for one in begun if one[: len(begin)] == begin]
    assert sorted(written) == sorted(under)


@given(titles, titles, st.data())
def test_titles_added_and_removed_one_by_one_are_as_if_built_at_once(first, more, data):
    trie = TitleTrie.of([[*one, END] for one in first], END)
    held = dict.fromkeys((*one, END) for one in first)
    for one in more:
        if (*one, END) not in held:
            trie.add([*one, END])
            held[(*one, END)] = None
        if data.draw(st.booleans()) and len(held) > 1:
            gone = data.draw(st.sampled_from(sorted(held)))
            trie.remove(gone)
            del held[gone]
    check(trie, list(held))
    trie._pack()
    check(trie, list(held))


def test_a_removed_title_comes_back_under_its_number():
    trie = TitleTrie.of(SEQUENCES, END)
    assert trie.remove([5, 6, END]) == 0
    assert trie.allowed([5, 6]).tolist() == [7]
    assert list(trie) == [1, 2, 3, 4]
    assert trie.add([5, 6, END]) == 0
    assert trie.add([5, 8, END]) == 5
    assert list(trie) == list(range(6))
    assert trie.in_order() == [2, 4, 0, 1, 5, 3]


def test_children_of_many_nodes_are_those_of_each():
    trie = TitleTrie.of(SEQUENCES, END)
    trie.add([5, 4, END])
    nodes = np.array([trie.walk(prefix) for prefix in ([], [5], [9], [5, 6, 7], [5, 4])])
    rows, found = trie.children(nodes)
    by_row = [trie.token[found[rows == row]].tolist() for row in range(len(nodes))]
    assert by_row == [[1, 5, 9], [3, 4, 6], [END], [END], [END]]


def test_tails_lead_to_the_only_title_left():
    trie = TitleTrie.of(SEQUENCES, END)
    tokens, counts, numbers = trie.tails(np.array([trie.walk([1]), trie.walk([5, 3]), trie.walk([9])]))
    assert [row[:n].tolist() for row, n in zip(tokens, counts, strict=True)] == [[2, END], [3, 3, END], [END]]
    assert numbers.tolist() == [2, 4, 3]
    with pytest.raises(InputError, match="more than one title"):
        trie.tails(np.array([trie.walk([5])]))
    assert len(trie.tails(np.array([], dtype=np.int64))[1]) == 0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ([], "no title"),
        ([[END]], "at least one before the end"),
        ([[1, 2]], "the end last"),
        ([[1, END, 2, END]], "nowhere else"),
        ([[1, 2, END], [3, END], [1, 2, END]], "Title 2 has the tokens of title 0"),
    ],
)
def test_sequences_that_are_no_titles_are_refused(wrong, says):
    with pytest.raises(InputError, match=says):
        TitleTrie.of(wrong, END)


def test_a_title_is_added_and_removed_once():
    trie = TitleTrie.of(SEQUENCES, END)
    with pytest.raises(InputError, match="has the tokens of title 2"):
        trie.add([1, 2, END])
    trie.remove([1, 2, END])
    with pytest.raises(InputError, match="not in the tree"):
        trie.remove([1, 2, END])
    with pytest.raises(InputError, match="no title number 9"):
        trie.sequence(9)


def test_a_tree_is_saved_and_mapped(tmp_path):
    trie = TitleTrie.of(SEQUENCES, END, fingerprint="one")
    trie.add([5, 8, END])
    trie.remove([9, END])
    trie.save(tmp_path)
    loaded = TitleTrie.load(tmp_path, fingerprint="one")
    held = [tuple(one) for one in [*SEQUENCES, [5, 8, END]] if one != [9, END]]
    check(loaded, held)
    loaded.add([2, 2, END])  # a mapped tree may be changed in memory
    check(loaded, [*held, (2, 2, END)])
    check(TitleTrie.load(tmp_path), held)


def test_a_tree_of_another_model_or_a_damaged_one_is_refused(tmp_path):
    TitleTrie.of(SEQUENCES, END, fingerprint="one").save(tmp_path)
    with pytest.raises(InputError, match="another model's tokens"):
        TitleTrie.load(tmp_path, fingerprint="two")
    about = json.loads((tmp_path / "000001" / "about.json").read_text())
    (tmp_path / "000001" / "about.json").write_text(json.dumps({**about, "arrays": ["token"]}))
    with pytest.raises(LibraryCorrupt, match="damaged"):
        TitleTrie.load(tmp_path)
    (tmp_path / "000001" / "about.json").write_text(json.dumps({**about, "kind": "phrases"}))
    with pytest.raises(InputError, match="no tree of titles"):
        TitleTrie.load(tmp_path)


def test_many_late_titles_are_packed_into_the_arrays():
    trie = TitleTrie.of(SEQUENCES, END)
    late = [[10 + n, 10 + n, END] for n in range(500)]
    for one in late:
        trie.add(one)
    assert sum(map(len, trie._late.values())) <= 1000
    assert len(trie) == 505
    assert trie.find(late[317]) == 5 + 317
    assert trie.longest == 5
