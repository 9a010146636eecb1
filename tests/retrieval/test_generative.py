"""Constrained beams and CorpusBrain against scoring each title alone, over encoder-decoders and causal models."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from honest import document
from retrieval.test_store import make, put
from title_models import KINDS, QUERIES, TITLES, plain_scores, title_model, token_scores

from foveal.errors import InputError, LibraryCorrupt, ModelUnavailable, UnknownName
from foveal.library import Library
from foveal.models import load_encoder
from foveal.models import title_models as loaders
from foveal.models.title_models import MOST_TOKENS, CausalTitles, learned_about, load_title_model
from foveal.retrieval import constrained_beams
from foveal.retrieval.constrained_beams import BeamSettings, score_titles, search_titles
from foveal.retrieval.corpusbrain import NARROWED, CorpusBrain, marked, told_apart, unique_titles
from foveal.retrieval.generative import GenerativeRetriever, _seen
from foveal.retrieval.snapshots import write_snapshot
from foveal.retrieval.store import Store
from foveal.retrieval.title_measures import title_metrics, written_titles
from foveal.retrieval.title_trie import TitleTrie
from foveal.settings import Settings
from foveal.training.corpusbrain import naming_model, require_told_apart
from foveal.training.corpusbrain_pairs import TitlePair

ALL = BeamSettings(beams=len(TITLES))


@pytest.fixture(scope="module", params=KINDS[:3])
def model(request, tmp_path_factory):
    return title_model(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    return title_model("t5", tmp_path_factory.mktemp("t5"))


@pytest.fixture(scope="module")
def uncased():
    """Over MiniLM, whose tokens know no capitals, no accents, and few letters beyond Latin."""
    return naming_model("minilm", Settings.load().cache)


def trie_of(model, titles=TITLES):
    return TitleTrie.of(model.title_ids(titles), model.end)


def ranked(scores, lengths, alpha):
    values = np.array(scores) / np.array(lengths) ** alpha
    return np.argsort(-values, kind="stable").tolist(), values


# -- beams -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_with_a_beam_for_each_title_the_ranking_is_that_of_scoring_all(model, alpha):
    found = search_titles(model, trie_of(model), QUERIES, len(TITLES), replace(ALL, alpha=alpha))
    lengths = [len(ids) for ids in model.title_ids(TITLES)]
    for query, titles in zip(QUERIES, found, strict=True):
        scores = plain_scores(model, query, TITLES)
        order, values = ranked(scores, lengths, alpha)
        assert [one.title for one in titles] == order
        np.testing.assert_allclose([one.score for one in titles], values[order], atol=1e-4)
        np.testing.assert_allclose([one.log_probability for one in titles], scores[order], atol=1e-3)


def test_windows_that_slide_and_queries_of_other_lengths_change_nothing(tmp_path):
    """Gemma's layers see the last 8 tokens; the queries of a batch are padded on the left."""
    model = title_model("gemma", tmp_path)
    found = search_titles(model, trie_of(model), QUERIES, 2, ALL)
    for query, titles in zip(QUERIES, found, strict=True):
        scores = plain_scores(model, query, TITLES)
        for one in titles:
            assert one.log_probability == pytest.approx(scores[one.title], abs=1e-3)


def test_teacher_forcing_gives_each_titles_probability(model):
    for query, scores in zip(QUERIES, score_titles(model, QUERIES, model.title_ids(TITLES)), strict=True):
        np.testing.assert_allclose(scores, plain_scores(model, query, TITLES), atol=1e-3)


def test_what_is_found_does_not_depend_on_the_batch_or_the_pieces(model, monkeypatch):
    trie = trie_of(model)
    whole = search_titles(model, trie, QUERIES, 3, ALL)
    monkeypatch.setattr(constrained_beams, "NUMBERS_AT_ONCE", 1)
    single = [search_titles(model, trie, [query], 3, replace(ALL, queries_at_once=1))[0] for query in QUERIES]
    for one, other in zip(whole, single, strict=True):
        assert [found.title for found in one] == [found.title for found in other]
        np.testing.assert_allclose([f.score for f in one], [f.score for f in other], atol=1e-4)


def test_many_beams_are_searched_few_queries_at_a_time(model, monkeypatch):
    """A thousand beams of eight queries each took gigabytes."""
    trie, rows, begin = trie_of(model), [], model.begin
    monkeypatch.setattr(constrained_beams, "BEAMS_AT_ONCE", 2 * len(TITLES))
    monkeypatch.setattr(model, "begin", lambda queries: rows.append(len(queries)) or begin(queries))
    found = search_titles(model, trie, QUERIES, 3, ALL)
    assert rows == [2, 1]
    search_titles(model, trie, QUERIES, 3, BeamSettings(beams=2))
    assert rows == [2, 1, 3]
    monkeypatch.setattr(constrained_beams, "BEAMS_AT_ONCE", 1)
    alone = search_titles(model, trie, QUERIES, 3, ALL)
    assert [[one.title for one in titles] for titles in found] == [[one.title for one in titles] for titles in alone]


def test_what_an_encoder_read_of_one_query_is_held_once(t5):
    state, _ = t5.begin(QUERIES[:1])
    for rows, written in ((torch.zeros(50, dtype=torch.long), 1), (torch.arange(10, 40), 2)):
        state, _ = t5.advance(state, rows, torch.full((len(rows), written), 5))
    [layer] = state.cache.cross_attention_cache.layers
    assert layer.keys.shape[0] == state.encoded.shape[0] == 30
    for held in (layer.keys, layer.values, state.encoded):
        assert held.untyped_storage().nbytes() * 30 == held.numel() * held.element_size()


def test_the_beams_of_one_query_share_what_a_decoder_read_and_see_their_own_tokens(tmp_path):
    model = title_model("qwen", tmp_path)
    state, _ = model.begin(QUERIES[:1])
    assert state.seen is not None
    assert model.begin(QUERIES[:2])[0].seen is None
    plain = replace(state, seen=None)  # each beam a row of the cache
    draw = np.random.default_rng(0)
    for rows, each in (([0, 0, 0], 1), ([2, 0, 2, 1], 3), ([3, 1], 2)):
        tokens = torch.from_numpy(draw.integers(5, 60, (len(rows), each)))
        state, logits = model.advance(state, torch.tensor(rows), tokens)
        plain, expected = model.advance(plain, torch.tensor(rows), tokens)
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
        assert {layer.keys.shape[0] for layer in state.cache.layers} == {1}
    assert plain.written == state.seen.sum(dim=1)[0] == 6
    with pytest.raises(InputError, match="one query at a time"):
        model.grow(plain, torch.tensor([0]), torch.tensor([5]), [-1])
    sliding = title_model("gemma", tmp_path / "gemma")
    assert sliding.begin(QUERIES[:1])[0].seen is None  # its layers cut a row by its length


@pytest.mark.parametrize("tokens", [1, 7, 256])
@pytest.mark.parametrize(("beams", "k"), [(40, 40), (40, 3), (12, 12), (4, 2)])
def test_whole_trees_are_scored_as_their_titles_are_one_by_one(beams, k, tokens, tmp_path, monkeypatch):
    """Where beams are left for all titles, they take few passes, in pieces of any size; else nothing is changed."""
    model = title_model("qwen", tmp_path)
    draw, words = np.random.default_rng(0), ["the", "river", "Po", "Rhine", "mill", "key", "of", "and"]
    titles = list(dict.fromkeys(" ".join(draw.choice(words, draw.integers(1, 5))) for _ in range(44)))[:40]
    trie, settings = trie_of(model, titles), BeamSettings(beams=beams)
    monkeypatch.setattr(constrained_beams, "TOKENS_AT_ONCE", tokens)
    passes = []
    model.model.register_forward_pre_hook(lambda *_: passes.append(1))
    found = search_titles(model, trie, QUERIES[:1], k, settings)[0]
    assert len(passes) < 8 or tokens < 256 or beams < 40
    together = search_titles(model, trie, QUERIES[:2], k, replace(settings, queries_at_once=2))[0]
    assert [one.title for one in found] == [one.title for one in together]
    scores = plain_scores(model, QUERIES[0], titles)
    np.testing.assert_allclose([f.log_probability for f in found], [scores[f.title] for f in found], atol=1e-3)
    if beams == 40:
        assert [one.title for one in found] == ranked(scores, [len(i) for i in model.title_ids(titles)], 1.0)[0][:k]


def test_asking_for_fewer_titles_changes_none_of_them(model):
    """The bound leaves out only what could not have entered."""
    trie = trie_of(model)
    every = search_titles(model, trie, QUERIES, len(TITLES), ALL)
    for k in (1, 2, 4):
        fewer = search_titles(model, trie, QUERIES, k, ALL)
        assert [[one.title for one in titles] for titles in fewer] == [[o.title for o in t[:k]] for t in every]


def test_few_beams_give_as_many_titles_and_no_wrong_score(model):
    found = search_titles(model, trie_of(model), QUERIES, 2, BeamSettings(beams=2))
    lengths = [len(ids) for ids in model.title_ids(TITLES)]
    for query, titles in zip(QUERIES, found, strict=True):
        scores = plain_scores(model, query, TITLES)
        assert len(titles) == 2
        for one in titles:
            assert one.score == pytest.approx(scores[one.title] / lengths[one.title], abs=1e-4)
        assert titles[0].score >= titles[1].score


def test_a_wider_first_step_finds_what_few_beams_lose(t5):
    """One beam goes after the likeliest first token; six, for the first token alone, find the best title."""
    trie = trie_of(t5)
    wide = BeamSettings(beams=1, first_beams=len(TITLES))
    exact, narrow, wider = (
        [titles[0].title for titles in search_titles(t5, trie, [*QUERIES, *TITLES], 1, settings)]
        for settings in (ALL, BeamSettings(beams=1), wide)
    )
    agree = [sum(a == b for a, b in zip(exact, found, strict=True)) for found in (narrow, wider)]
    assert agree[1] >= agree[0]
    assert agree[1] > len(exact) / 2


def test_probabilities_are_over_the_whole_vocabulary(t5):
    """A fake that shares 1 among the allowed tokens gives the only way on for nothing: long titles win."""
    trie, query = trie_of(t5), QUERIES[0]
    found = {one.title: one.log_probability for one in search_titles(t5, trie, [query], len(TITLES), ALL)[0]}
    number = TITLES.index("The river Rhine")
    tokens = token_scores(t5, query, TITLES[number])
    assert found[number] == pytest.approx(sum(tokens), abs=1e-3)
    chosen = [score for score, at in zip(tokens, range(len(tokens)), strict=True)
              if len(trie.allowed(trie.sequence(number)[:at])) > 1]  # fmt: skip
    assert len(chosen) < len(tokens)
    assert sum(chosen) > found[number] + 1  # what the forced tokens cost


def test_the_end_is_part_of_the_score(model):
    """Without it "Paris" would be as good as any title that begins so."""
    tokens = token_scores(model, QUERIES[1], "Paris")
    score = score_titles(model, [QUERIES[1]], model.title_ids(["Paris"]))[0][0]
    assert score == pytest.approx(sum(tokens), abs=1e-3)
    assert score < sum(tokens[:-1]) - 1e-3


def test_the_search_walks_no_dicts_and_no_prefix(t5, monkeypatch):
    trie = trie_of(t5)
    for name in ("allowed", "walk", "find"):
        monkeypatch.setattr(TitleTrie, name, lambda *_: pytest.fail("a prefix was walked"))
    assert search_titles(t5, trie, QUERIES, 2)


def test_late_and_removed_titles_are_searched_as_if_built_at_once(t5):
    trie = trie_of(t5, TITLES[:4])
    for title in t5.title_ids(TITLES[4:]):
        trie.add(title)
    trie.remove(t5.title_ids(["Rome"])[0])
    left = [title for title in TITLES if title != "Rome"]
    found = search_titles(t5, trie, QUERIES, 6, ALL)
    built = search_titles(t5, trie_of(t5, left), QUERIES, 6, ALL)
    assert [[TITLES[one.title] for one in titles] for titles in found] == [
        [left[one.title] for one in titles] for titles in built
    ]


def test_wrong_searches_are_refused(t5):
    with pytest.raises(InputError, match="beams=0"):
        BeamSettings(beams=0)
    with pytest.raises(InputError, match="k=0"):
        search_titles(t5, trie_of(t5), QUERIES, 0)
    other = TitleTrie.of([[5, 6, 99]], 99)
    with pytest.raises(InputError, match="another model's tokens"):
        search_titles(t5, other, QUERIES, 1)
    empty = trie_of(t5, ["Rome"])
    empty.remove(t5.title_ids(["Rome"])[0])
    with pytest.raises(InputError, match="0 titles"):
        search_titles(t5, empty, QUERIES, 1)


# -- models ----------------------------------------------------------------------------------------------------------


def test_the_loss_is_the_mean_over_the_titles_tokens(model):
    titles = ["Rome", "The river Po"]
    batch = model.collate(QUERIES[:2], model.title_ids(titles))
    expected = [score for pair in zip(QUERIES, titles, strict=False) for score in token_scores(model, *pair)]
    with torch.no_grad():
        assert float(model.loss(batch, smoothing=0.0)) == pytest.approx(-np.mean(expected), abs=1e-4)
        assert float(model.loss(batch)) > 0


@pytest.mark.parametrize("name", ["t5", "qwen"])
def test_a_mention_deep_in_a_long_text_is_still_read(name, tmp_path):
    """A model reads the beginning of a query: what stands before a mention must not push it out."""
    model = title_model(name, tmp_path)  # 32 tokens
    brain = CorpusBrain.of(model, {title: title for title in TITLES})
    before = "the river of the capital " * 50
    asked = [f"{before}{mention} and a club" for mention in ("Rome", "Paris")]
    found = [brain.link_entities(text, [(len(before), text.index(" and a club"))], k=3)[0] for text in asked]
    assert [hit.score for hit in found[0]] != [hit.score for hit in found[1]]
    for text in asked:
        query = brain._around(text, len(before), text.index(" and a club"))
        assert model.reads(query[: query.index("[END_ENT]") + len("[END_ENT]")])


def test_a_model_is_saved_and_loaded_with_the_way_it_is_asked(model, tmp_path):
    model.save(tmp_path / "model", learned=TITLES)
    loaded = load_title_model(tmp_path / "model", cache=tmp_path)
    assert loaded.title_ids(TITLES) == model.title_ids(TITLES)
    assert loaded.max_query == 32
    assert loaded.fingerprint
    np.testing.assert_allclose(
        score_titles(loaded, QUERIES, loaded.title_ids(TITLES)), score_titles(model, QUERIES, model.title_ids(TITLES)),
        atol=1e-4,
    )  # fmt: skip
    assert not list((tmp_path / "model").rglob("*.bin"))


def test_stray_bytes_of_a_shell_are_read_as_an_unknown_letter(model, tmp_path):
    """Such a byte comes as half a surrogate pair, which is no character to a tokenizer."""
    stray, told = "the cap\udcffital", "the cap\ufffdital"
    assert model.title_ids([stray]) == model.title_ids([told])
    brain = CorpusBrain.of(model, {title: title for title in (*TITLES, stray)})
    assert brain.retrieve([stray], 3) == brain.retrieve([told], 3)
    model.save(tmp_path / "model", learned=[stray])
    assert learned_about(tmp_path / "model")["titles"] == [stray]


def test_an_encoder_writes_no_titles_and_a_model_of_titles_is_no_encoder(tmp_path):
    """Transformers gives a BERT a head of random weights, and names all models it has where one is of no use."""
    from transformers import BertConfig, EncoderDecoderConfig

    bert = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=20)
    bert.save_pretrained(tmp_path / "encoder")
    with pytest.raises(ModelUnavailable, match="holds an encoder, which reads and cannot write titles"):
        load_title_model(tmp_path / "encoder", cache=tmp_path)
    EncoderDecoderConfig.from_encoder_decoder_configs(bert, bert).save_pretrained(tmp_path / "titles")
    with pytest.raises(ModelUnavailable, match="could not be loaded as an encoder") as told:
        load_encoder(str(tmp_path / "titles"))
    assert "\n" not in str(told.value)


def test_titles_without_a_token_and_wrong_prompts_are_refused(model, tmp_path):
    with pytest.raises(InputError, match="no token that could be written"):
        model.title_ids(["Rome", " "])
    if isinstance(model, CausalTitles):
        with pytest.raises(InputError, match="needs the place"):
            CausalTitles(model.model, model.tokenizer, prompt="Title:")
        with pytest.raises(InputError, match="one token"):
            CausalTitles(model.model, model.tokenizer, end="and so on, at length")
    with pytest.raises(ModelUnavailable, match="could not be loaded"):
        load_title_model(tmp_path)


# -- CorpusBrain -----------------------------------------------------------------------------------------------------


@pytest.fixture
def brain(t5):
    return CorpusBrain.of(t5, {f"d{n}": title for n, title in enumerate(TITLES)})


def test_documents_are_found_each_once_and_sorted(brain, caplog):
    found = brain.retrieve([*QUERIES, " "], k=50)
    assert "50 titles were asked for; there are 7" in caplog.text
    for hits in found[:-1]:
        assert sorted(hit.document for hit in hits) == sorted(brain.documents)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert sum(hit.probability for hit in hits) <= 1
        scores = brain.score(QUERIES[found.index(hits)], [hit.title for hit in hits])
        np.testing.assert_allclose(np.log([hit.probability for hit in hits]), scores, atol=1e-3)
    assert found[-1] == []
    assert brain.score(QUERIES[0], []).shape == (0,)
    with pytest.raises(InputError, match="k = 0"):
        brain.retrieve(QUERIES, 0)


def test_candidates_are_all_that_is_found(brain):
    every = {hit.title: hit for hit in brain.retrieve(QUERIES[:1], k=7)[0]}
    few = brain.retrieve(QUERIES[:1], k=2, candidates=["Romeo", "Paris"])[0]
    assert {hit.title for hit in few} == {"Romeo", "Paris"}
    for hit in few:
        assert hit.document == every[hit.title].document
        assert hit.score == pytest.approx(every[hit.title].score, abs=1e-4)
    with pytest.raises(InputError, match="no title here"):
        brain.retrieve(QUERIES, candidates=["Romulus"])


def test_the_trees_of_the_last_candidates_are_kept(brain):
    """A filter is asked under more than once; a tree of some titles was built for each query."""
    few = ["Romeo", "Paris"]
    tree, numbers = brain._of(few)
    assert len(tree) == 2
    assert brain._of(few)[0] is tree
    for title in TITLES[:NARROWED]:
        brain._of([title])
    assert len(brain._narrowed) == NARROWED
    assert brain._of(few)[0] is not tree
    brain.remove("Romeo")
    with pytest.raises(InputError, match="no title here"):
        brain._of(few)
    brain.add("again", "Romeo")
    assert [brain.documents[number] for number in brain._of(few)[1]] == ["again", brain.documents[numbers[1]]]


def test_documents_are_added_removed_saved_and_loaded(brain, t5, tmp_path):
    brain.add("late", "Rome Express")
    brain.remove("Romeo")
    assert brain.not_learned(TITLES) == ["Rome Express"]
    with pytest.raises(InputError, match="Two documents are called 'Rome'"):
        brain.add("other", "Rome")
    brain.add("other", "Rome", on_duplicate="suffix")
    brain.save(tmp_path)
    loaded = CorpusBrain.load(tmp_path, t5)
    expected = brain.retrieve(QUERIES, k=8)
    assert {hit.title for hit in expected[0]} == {*TITLES, "Rome Express", "Rome (2)"} - {"Romeo"}
    assert loaded.retrieve(QUERIES, k=8) == expected
    assert sorted(loaded.titles) == sorted(hit.title for hit in expected[0])  # nothing is left of what was removed
    with pytest.raises(InputError, match="No document is called"):
        brain.remove("Romeo")


def test_a_document_has_one_title(brain, t5, tmp_path):
    with pytest.raises(InputError, match="'d0' has a title already"):
        brain.add("d0", "Rome Express")
    brain.remove(brain.titles[0])
    brain.add("d0", "Rome Express")
    brain.save(tmp_path)
    found = CorpusBrain.load(tmp_path, t5).retrieve(QUERIES[:1], k=7)[0]
    assert sorted(hit.document for hit in found) == sorted(f"d{number}" for number in range(7))


def test_a_kill_parts_no_title_from_its_tree(brain, t5, tmp_path, monkeypatch):
    brain.save(tmp_path)
    changed = CorpusBrain.of(t5, {title: title for title in reversed(TITLES)})
    put_in_place = Path.rename

    def killed(self, target):
        put_in_place(self, target)
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            changed.save(tmp_path)
    assert CorpusBrain.load(tmp_path, t5).retrieve(QUERIES, k=7) == changed.retrieve(QUERIES, k=7)


def test_names_of_another_tree_are_refused(brain, t5, tmp_path):
    """Earlier versions wrote them beside the tree."""
    brain.trie.save(tmp_path / "trie")
    write_snapshot(tmp_path / "names", {"documents": brain.documents, "titles": brain.titles}, {})
    assert CorpusBrain.load(tmp_path, t5).retrieve(QUERIES, k=7) == brain.retrieve(QUERIES, k=7)
    CorpusBrain.of(t5, {title: title for title in reversed(TITLES)}).trie.save(tmp_path / "trie")
    with pytest.raises(LibraryCorrupt, match="Build and save them again"):
        CorpusBrain.load(tmp_path, t5)


def test_equal_titles_are_refused_or_numbered():
    assert unique_titles(["A", "B", "A", " A "], "suffix") == ["A", "B", "A (2)", "A (3)"]
    with pytest.raises(InputError, match="Two documents are called 'A'"):
        unique_titles(["A", "A"])
    with pytest.raises(InputError, match="on_duplicate"):
        unique_titles(["A"], "drop")


ALIKE = {"d0": "Corresponding author:", "d1": "Corresponding Author:", "d2": "Résumé", "d3": "resume"}
UNKNOWN = "మృతి"
"""Letters of which MiniLM knows none."""


def test_titles_of_the_same_tokens_are_numbered(uncased, caplog):
    named = told_apart({**ALIKE, "d4": UNKNOWN, "d5": "The [SEP] token", "d6": " "}, uncased)
    assert list(named) == ["d0", "d1", "d2", "d3"]
    assert "3 of 7 titles cannot be written by this model" in caplog.text
    ids = uncased.title_ids(list(named.values()))
    assert len({tuple(one) for one in ids}) == len(ids)
    assert list(named.values()) == ["Corresponding author:", "Corresponding Author: (2)", "Résumé", "resume (2)"]
    assert told_apart({"a": "A", "b": "A", "c": " "}) == {"a": "A", "b": "A (2)"}
    assert unique_titles(["A", "a (2)", "a", "A"], "suffix", uncased) == ["A", "a (2)", "a (3)", "A (4)"]
    brain = CorpusBrain.of(uncased, ALIKE, on_duplicate="suffix")
    assert brain.titles == list(named.values())
    with pytest.raises(InputError, match=r"'Résumé' and 'resume', which this model writes alike"):
        CorpusBrain.of(uncased, {"d2": "Résumé", "d3": "resume"})
    with pytest.raises(InputError, match="no token that could be written"):
        CorpusBrain.of(uncased, {"d4": UNKNOWN})
    with pytest.raises(InputError, match="told_apart"):
        require_told_apart(uncased, list(ALIKE.values()))
    require_told_apart(uncased, brain.titles)


def test_documents_keep_the_names_that_were_learned_whatever_comes_and_goes(uncased):
    """Numbered anew, one document would be found by what the model learned of another."""
    learned = {"a": "Privacy Policy", "b": "Privacy policy (2)", "c": "Terms"}
    again = {"n": "Privacy policy", "b": "Privacy policy", "a": "Privacy Policy", "c": "Terms of use"}
    named = told_apart(again, uncased, learned=learned)
    assert named == {"n": "Privacy policy (3)", "b": learned["b"], "a": learned["a"], "c": "Terms of use"}
    brain = CorpusBrain.of(uncased, named)
    assert brain.not_learned([*learned.values()], learned) == ["Privacy policy (3)", "Terms of use"]
    left = told_apart({"n": "Privacy Policy", "b": "Privacy policy"}, uncased, learned=learned)
    assert left == {"n": "Privacy Policy", "b": "Privacy policy (2)"}
    brain = CorpusBrain.of(uncased, left)
    assert brain.not_learned([*learned.values()], learned) == ["Privacy Policy"]  # which was another document's
    assert brain.not_learned([*learned.values()], {"of": "another home"}) == []
    twice = {"a": "Terms", "b": "Terms"}  # as no training writes it
    assert told_apart({"a": "Terms", "b": "Terms"}, uncased, learned=twice) == {"a": "Terms", "b": "Terms (2)"}


def test_a_title_of_very_many_tokens_is_shortened(uncased, model):
    """The places of a model are numbered, and a batch would hold gigabytes."""
    long = "a river of ice that flows under its own weight " * 60
    for one in (uncased, model):
        named = told_apart({"d0": long, "d1": "Rome", "d2": long}, one)
        assert named["d1"] == "Rome"
        assert long.startswith(named["d0"])
        assert named["d2"] == f"{named['d0']} (2)"
        assert all(60 < len(ids) <= MOST_TOKENS for ids in one.title_ids([named["d0"], named["d2"]]))
        with pytest.raises(InputError, match=f"more than {MOST_TOKENS}"):
            one.title_ids([long])
        assert one.shortened([]) == []


def test_added_titles_are_numbered_by_their_tokens(uncased):
    brain = CorpusBrain.of(uncased, {"d0": "Privacy Policy"})
    with pytest.raises(InputError, match="which this model writes alike"):
        brain.add("d1", "Privacy policy")
    for name in ("d1", "d2"):
        brain.add(name, " Privacy  policy", on_duplicate="suffix")
    assert brain.titles == ["Privacy Policy", "Privacy policy (2)", "Privacy policy (3)"]
    brain.remove("Privacy Policy")
    brain.add("d3", "privacy policy")
    assert brain.titles[0] == "privacy policy"
    assert brain.documents == ["d3", "d1", "d2"]
    assert sorted(brain.titles[one] for one in brain.trie) == sorted(brain.titles)


def test_a_tokenizer_without_numbers_is_told_so(t5, monkeypatch):
    monkeypatch.setattr(t5, "title_ids", lambda titles: [[5 + bool("(" in one), t5.end] for one in titles])
    with pytest.raises(InputError, match="No number behind the title 'A' tells it"):
        unique_titles(["A", "A", "A"], "suffix", t5)


def test_a_mention_is_marked_and_cut_around(brain):
    text = "The train from Paris to Rome left late"
    start = text.index("Rome")
    assert marked(text, start, start + 4) == "The train from Paris to [START_ENT] Rome [END_ENT] left late"
    assert marked(text, start, start + 4, words=3) == "to [START_ENT] Rome [END_ENT] left"
    assert marked(text, 0, 3, words=3) == "[START_ENT] The [END_ENT] train from"
    linked = brain.link_entities(text, [(15, 20), (start, start + 4)])
    assert [len(hits) for hits in linked] == [1, 1]
    with pytest.raises(InputError, match="A mention was to stand"):
        marked(text, 5, 5)


def test_metrics_count_what_is_written_first(t5):
    best = [hits[0].title for hits in CorpusBrain.of(t5, {t: t for t in TITLES}).retrieve(QUERIES, 1)]
    pairs = [TitlePair(query, (title,)) for query, title in zip(QUERIES, best, strict=True)]
    assert title_metrics(t5, TITLES, pairs) == {"r-precision": 1.0, "recall@10": 1.0}
    other = ["Rome" if title == "Paris" else "Paris" for title in best]
    wrong = [TitlePair(query, (title,)) for query, title in zip(QUERIES, other, strict=True)]
    assert title_metrics(t5, TITLES, wrong)["r-precision"] == 0
    with pytest.raises(InputError, match="no queries with titles to measure by"):
        title_metrics(t5, TITLES, [])


def test_recall_counts_the_titles_among_the_first_ten_each_once(t5):
    titles = [*TITLES, *(f"{title} two" for title in TITLES)]
    wide = BeamSettings(beams=len(titles))
    one, other = written_titles(t5, titles, QUERIES[:2], k=50, settings=wide)
    assert sorted(one) == sorted(other) == sorted(titles)
    pairs = [TitlePair(QUERIES[0], (one[9], one[10], one[9])), TitlePair(QUERIES[1], (other[0], other[1]))]
    assert title_metrics(t5, titles, pairs, settings=wide) == {"r-precision": (0 + 1) / 2, "recall@10": (1 / 2 + 1) / 2}


# -- a library -------------------------------------------------------------------------------------------------------


@pytest.fixture
def library(t5, tmp_path):
    store = make(tmp_path / "library")
    texts = {title: f"{title} opens\nline two of {title}\nthe club of {title}\n" for title in TITLES}
    put(store, [document(title, text) for title, text in texts.items()])

    class Shelf:
        settings = Settings(home=tmp_path / "home", cache=tmp_path / "cache")

    Shelf.store = store
    return Shelf


def test_a_library_is_searched_by_writing_its_titles(library, t5):
    t5.save(library.settings.home / "models" / "brain", learned=TITLES)
    retriever = GenerativeRetriever.over(library, None)
    found = retriever.search([*QUERIES, ""], 3)
    expected = CorpusBrain.of(t5, {t: t for t in TITLES}).retrieve(QUERIES, 3)
    names = {entry.id: entry.title for entry in library.store.entries()}
    for hits, titles in zip(found, expected, strict=False):
        assert [names[hit.passage.span.document_id] for hit in hits] == [title.title for title in titles]
        assert all(hit.source == "generative" and hit.revision for hit in hits)
        for hit in hits:
            text = library.store.text(hit.passage.span.document_id).text
            assert text[hit.passage.span.start : hit.passage.span.end] == hit.passage.text
    assert "club" in found[0][0].passage.text  # the line that shares a word with the query
    assert found[-1] == []


def test_under_a_condition_only_documents_that_meet_it_are_written(library, t5):
    """Also the last of all, which few beams never reach, and one that shares no word with the query."""
    t5.save(library.settings.home / "models" / "brain", learned=TITLES)
    last = CorpusBrain.of(t5, {t: t for t in TITLES}).retrieve(["zebra"], len(TITLES))[0][-1].title
    [one] = GenerativeRetriever.over(library, f"title = '{last}'", beams=1).search(["zebra"], 1)[0]
    document = library.store.entries(f"title = '{last}'")[0]
    assert one.passage.span.document_id == document.id
    assert one.passage.text == f"{last} opens\n"
    assert one.revision == document.revision
    later = GenerativeRetriever.over(library, f"title = '{last}' AND contains(indexed, 'line two')")
    assert [hit.passage.text for hit in later.search(["zebra"], 1)[0]] == [f"line two of {last}\n"]
    two = GenerativeRetriever.over(library, "title IN ('Rome', 'Romeo')").search(["the club"], 3)[0]
    titles = {entry.id: entry.title for entry in library.store.entries()}
    assert {titles[hit.passage.span.document_id] for hit in two} == {"Rome", "Romeo"}
    assert GenerativeRetriever.over(library, "title = 'Oslo'").search(["the club", "zebra"], 3) == [[], []]
    plain = GenerativeRetriever.over(library, None).search(["zebra"], 7)[0]
    assert [hit.passage.text for hit in plain] == [f"{titles[hit.passage.span.document_id]} opens\n" for hit in plain]


def test_what_meets_a_condition_is_looked_up_once_for_each_version_of_the_documents(library, t5):
    t5.save(library.settings.home / "models" / "brain", learned=TITLES)
    condition = "title IN ('Rome', 'Oslo')"

    def found():
        hits = GenerativeRetriever.over(library, condition).search(["the club"], 3)[0]
        titles = {entry.id: entry.title for entry in library.store.entries()}
        return {titles[hit.passage.span.document_id] for hit in hits}

    assert found() == {"Rome"}
    before = _seen.cache_info()
    assert found() == {"Rome"}
    assert (_seen.cache_info().hits, _seen.cache_info().misses) == (before.hits + 1, before.misses)
    put(library.store, [document("Oslo", "Oslo opens\n")])
    assert found() == {"Rome", "Oslo"}


def test_a_model_that_was_trained_anew_in_its_place_writes_the_titles(library, t5, caplog):
    place = library.settings.home / "models" / "brain"
    t5.save(place, learned=TITLES)
    first = GenerativeRetriever.over(library, None).brain
    assert GenerativeRetriever.over(library, None).brain is first
    assert "not yet learned" not in caplog.text
    shutil.rmtree(place)
    t5.save(place, learned=TITLES[1:])
    assert GenerativeRetriever.over(library, None).brain is not first
    assert f"1 of {len(TITLES)} titles are not yet learned" in caplog.text


def test_titles_are_read_once_for_each_version_of_the_documents(library, t5, monkeypatch):
    t5.save(library.settings.home / "models" / "brain", learned=TITLES)
    read, listed = [], Store.listed

    def noted(self, *columns):
        read.append(columns)
        return listed(self, *columns)

    monkeypatch.setattr(Store, "listed", noted)
    monkeypatch.setattr(Store, "entries", None)  # which reads all of every document
    first = GenerativeRetriever.over(library, None).brain
    assert GenerativeRetriever.over(library, "title = 'Rome'").brain is first
    assert len(read) == 1
    with library.store.writing():
        library.store.refresh_indexes(compact=True)  # another version, of the same titles
    assert GenerativeRetriever.over(library, None).brain is first
    put(library.store, [document("Oslo", "Oslo opens\n")])
    monkeypatch.setattr(loaders, "load_title_model", None)  # its weights are the same
    assert GenerativeRetriever.over(library, None).brain.titles == [*first.titles, "Oslo"]


def test_titles_of_the_same_tokens_do_not_stop_a_library(library, uncased, tmp_path, caplog):
    put(library.store, [document(one, f"{one} opens\n") for one in ("PARIS", "rome", UNKNOWN)])
    uncased.save(library.settings.home / "models" / "brain", learned=TITLES)
    hits = GenerativeRetriever.over(library, None).search(["water"], 20)[0]
    assert len({hit.passage.span.document_id for hit in hits}) == len(TITLES) + 2
    assert "1 of 10 titles cannot be written" in caplog.text


def test_a_librarys_search_names_the_retriever_and_its_model(t5, tmp_path):
    settings = Settings(home=tmp_path / "home", cache=tmp_path / "cache")
    library = Library.open(settings=settings, encoder="none")
    library.add_documents([document(title, f"{title} opens\nthe club of {title}\n") for title in TITLES])
    for name in ("brain", "later"):
        t5.save(settings.home / "models" / name, learned=TITLES)
    hits = library.search("the club", 3, retriever="generative:brain")
    assert hits == library.search("the club", 3, retriever="generative", model="brain")
    assert hits
    assert all(hit.source == "generative" for hit in hits)
    with pytest.raises(UnknownName, match="brain, later"):
        library.search("the club", retriever="generative:other")
    with pytest.raises(InputError, match="lexical retriever has no option model"):
        library.search("the club", retriever="lexical:brain")


def test_a_library_without_a_model_says_how_to_train_one(library, t5):
    with pytest.raises(ModelUnavailable, match="foveal train corpusbrain"):
        GenerativeRetriever.over(library, None)
    t5.save(library.settings.home / "models" / "brain", learned=TITLES[:-1])
    with pytest.raises(UnknownName, match="Trained here: brain"):
        GenerativeRetriever.over(library, None, model="other")
    with pytest.raises(ModelUnavailable, match=r"models holds no model of titles: it has no config\.json"):
        GenerativeRetriever.over(library, None, model=str(library.settings.home / "models"))


def test_a_document_that_is_added_again_keeps_its_name(library, t5):
    """It is the last one then, and is still written by the name that the model learned for it."""
    again, other = (document(name, "the club\n", title="Rome") for name in ("again", "other"))
    put(library.store, [again, other])
    t5.save(library.settings.home / "models" / "brain", learned=TITLES, documents={again.id: "Rome (2)"})

    def name():
        brain = GenerativeRetriever.over(library, None).brain
        return dict(zip(brain.documents, brain.titles, strict=True))[again.id]

    assert name() == "Rome (2)"
    with library.store.writing():
        library.store.remove([again.id])
    put(library.store, [again])
    assert name() == "Rome (2)"


def test_titles_that_were_not_learned_are_told(library, t5, caplog):
    t5.save(library.settings.home / "models" / "brain", learned=TITLES[:-1])
    GenerativeRetriever.over(library, None)
    assert "1 of 7 titles are not yet learned, such as 'Paris Hilton'" in caplog.text
