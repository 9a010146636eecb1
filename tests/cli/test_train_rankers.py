"""`foveal train ranker, blockrank, legal`: judgements of a library become what `foveal search --rank` takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny import tiny
from training.conftest import make_encoder
from typer import BadParameter
from typer.testing import CliRunner

from foveal.cli.main import app
from foveal.cli.training import AskedOfJudged
from foveal.errors import InputError, UnknownName
from foveal.evaluation.judgements import FILE, Judgement, keep_judgement
from foveal.faults import injected
from foveal.library import Library
from foveal.ranking.blockrank_cache import BlockCache
from foveal.ranking.blockrank_kept import keep_library
from foveal.ranking.by_name import load_ranker
from foveal.ranking.fitting import FITS
from foveal.ranking.neural import MODELS
from foveal.ranking.neural.losses import LOSSES
from foveal.ranking.neural.ranker import Neural
from foveal.training import model_folders
from foveal.training.rerankers import OBJECTIVES
from foveal.types import Document, document_id

THINGS = ["barrel", "basket", "blanket", "candle", "chain", "door", "feather", "frame", "heap", "kettle", "net", "oven"]
LITTLE = ["--steps", "10", "--batch", "8", "--learning-rate", "0.03"]


def texts() -> Iterator[Document]:
    """Of each thing a page that answers, and two that only say its name often: words alone put these first."""
    for n, thing in enumerate(THINGS):
        name = f"old {thing}"
        told = (
            f"As I was told by a neighbour of ours, the {name} is made in steps {n} and {n + 1} by hand, and it lasts."
        )
        yield Document.of(f"test:{thing}/how", f"{told}\n", f"{thing}")
        yield Document.of(f"test:{thing}/tags", f"{name}, {name}s, cheap {name}, buy {name}.\n", "tags")
        yield Document.of(f"test:{thing}/shop", f"{thing} and {name}, {name} and {thing}, {name}.\n", "shop")


def train(*arguments: object, home: Path) -> dict[str, Any]:
    done = CliRunner().invoke(
        app, ["train", *map(str, arguments), "--json", "--library", str(home)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def passage(thing: str, page: str = "how") -> str:
    """The id of a page's only passage, as qrels name it."""
    found = next(one for one in texts() if one.id == document_id(f"test:{thing}/{page}"))
    return f"{found.id}:0-{len(found.text)}"


def refused(*arguments: object, home: Path) -> str:
    done = CliRunner().invoke(app, ["train", *map(str, arguments), "--library", str(home)])
    assert isinstance(done.exception, InputError), done.output
    return str(done.exception)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library by words only, not yet judged."""
    home = tmp_path_factory.mktemp("plain")
    Library.open(home, encoder="none").add_documents(texts())
    return home


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, and for each thing all three pages were graded."""
    home = tmp_path_factory.mktemp("judged")
    library = Library.open(home, encoder="none")
    library.add_documents(texts())
    for thing in THINGS:
        for hit in library.search(f"old {thing}", 3):
            grade = 3 if hit.passage.span.document_id == document_id(f"test:{thing}/how") else 0
            keep_judgement(home / FILE, Judgement(f"old {thing}", hit.passage.span, str(hit.revision), grade))
    return home


@pytest.fixture
def mine(judged: Path) -> dict[str, Any]:
    """A K-NRM that was trained on the library's judgements; once, since a run that is done is not done again."""
    return train("ranker", "knrm", "--name", "mine", *LITTLE, home=judged)


pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def little_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("bert") / "little")


@pytest.fixture
def with_headings(tmp_path: Path) -> Path:
    """A library of pages with headings, by words only."""
    (tmp_path / "texts").mkdir()
    for n, thing in enumerate(THINGS[:6]):
        parts = [f"## The care of an old {thing}\n\nIn year {n} it is oiled by hand. Then it stands in a dry place.\n"]
        parts += [f"## Where the {thing} stands now\n\nBehind door {n} all year. Nobody has moved it since that day.\n"]
        (tmp_path / "texts" / f"{thing}.md").write_text(f"# A book of the {thing}\n\n" + "\n".join(parts))
    Library.open(tmp_path / "home", encoder="none").add([tmp_path / "texts"])
    return tmp_path / "home"


# -- neural rankers ---------------------------------------------------------------------------------------------------


def test_what_a_person_judged_makes_a_ranker_that_search_uses(judged, mine):
    """The library's own judgements by default; before and after on queries held out; again, nothing is trained."""
    told = mine
    assert told["kept"]
    before, after = told["measured"]["dev"]
    assert before["map"] == pytest.approx(1 / 3)
    assert after["map"] > before["map"]
    assert any("12 judged queries. They are few" in note for note in told["notes"])
    assert (Path(told["run"]) / "report.json").is_file()
    asked = ["search", "old oven", "--rank", "mine", "-k", "3", "--json", "--home", str(judged)]
    found = json.loads(CliRunner().invoke(app, asked, catch_exceptions=False).stdout)["hits"]
    assert found[0]["span"]["document_id"] == document_id("test:oven/how")
    assert found[0]["retriever"] == "knrm"
    weights = (Path(told["model"]) / "model.safetensors").stat().st_mtime_ns
    again = train("ranker", "knrm", "--name", "mine", *LITTLE, home=judged)
    assert again["curves"] == told["curves"]
    assert (Path(again["model"]) / "model.safetensors").stat().st_mtime_ns == weights


def test_a_ranker_orders_every_search_until_it_is_taken_back(judged, mine):
    """Shown where one looks, not to be removed meanwhile, refused where there is none such, and undone by one word."""

    def run(*arguments: str, status: int = 0) -> str:
        done = CliRunner().invoke(app, [*arguments, "--home", str(judged)])
        assert done.exit_code == status, done.output
        return done.stdout or str(done.exception)

    def sources(*more: str) -> set[str]:
        found = json.loads(run("search", "old oven", "-k", "3", "--json", *more))
        return {hit["retriever"] for hit in found["hits"]}

    assert "as they are found" in run("train", "use")
    assert "No ranker is called 'nobody'" in run("train", "use", "nobody", status=1)
    asked = ["ask", "old oven", "--rank", "nobody", "--url", "http://127.0.0.1:9/v1", "--answerer", "m"]
    assert "No ranker is called 'nobody'" in run(*asked, status=1)
    assert sources() == {"lexical"}
    budget = ["search", "x", "--budget", "9", "--home", str(judged)]
    assert isinstance(CliRunner().invoke(app, budget, standalone_mode=False).exception, BadParameter)
    assert "ordered by mine" in run("train", "use", "mine")
    try:
        assert sources() == sources("--budget", "60000") == {"knrm"}
        assert sources("--rank", "none") == sources("--retriever", "lexical") == {"lexical"}
        assert json.loads(run("stats", "--json"))["ranker"] == "mine"
        assert "ordered by" in run("stats")
        told = run("train", "list")  # a narrow terminal folds the line
        assert "kept; orders" in told
        assert "searches" in told
        held = {one["name"]: one["orders_searches"] for one in json.loads(run("train", "list", "--json"))}
        assert [name for name, used in held.items() if used] == ["mine"]
        assert "foveal train use none" in run("train", "remove", "mine", status=1)
        (judged / "models" / "mine").rename(judged / "models" / "away")
        said = run("search", "old oven", status=1)
        assert "not there any more" in said
        assert "foveal train use none" in said
        (judged / "models" / "away").rename(judged / "models" / "mine")
    finally:
        assert "as they are found" in run("train", "use", "none")
    assert sources() == {"lexical"}


@pytest.mark.parametrize("which", list(FITS))
@pytest.mark.slow
def test_a_model_of_features_is_fitted_and_searched_with(which, judged):
    """What answers here is longer than what names the thing often."""
    told = train("ranker", which, "--name", f"by-{which}", home=judged)
    assert told["kept"]
    before, after = told["measured"]["dev"]
    assert before["mrr@10"] == pytest.approx(1 / 3)
    assert told["what"] == f"learned ranker, {which}, over lexical search of the library"
    assert after["mrr@10"] > before["mrr@10"]
    asked = ["search", "old oven", "--rank", f"by-{which}", "-k", "3", "--json", "--home", str(judged)]
    found = json.loads(CliRunner().invoke(app, asked, catch_exceptions=False).stdout)["hits"]
    assert found[0]["span"]["document_id"] == document_id("test:oven/how")
    assert found[0]["retriever"] == "learned"
    assert train("ranker", which, "--name", f"by-{which}", home=judged)["measured"] == told["measured"]
    assert "leave out --epochs, --loss" in refused("ranker", which, "--epochs", "2", "--loss", "bce", home=judged)


def test_a_damaged_model_of_features_is_told(tmp_path):
    (tmp_path / "feature-ranker.json").write_text("[]")
    with pytest.raises(InputError, match="holds no learned ranker"):
        load_ranker(str(tmp_path), home=tmp_path)


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_model(judged, mine):
    """Ctrl-C at a checkpoint: nothing is in the model's place; the same command ends as one that was never stopped."""
    with injected({"training.before-whole": "interrupt@2"}):
        stopped = CliRunner().invoke(
            app, ["train", "ranker", "knrm", "--name", "parts", *LITTLE, "--library", str(judged)]
        )
    assert stopped.exit_code == 130
    assert not (judged / "models" / "parts").exists()
    told = train("ranker", "knrm", "--name", "parts", *LITTLE, home=judged)
    assert told["curves"]["resumed_at"] > 0
    assert told["measured"] == mine["measured"]
    pair = [("old oven", "an old oven by a neighbour")]
    assert load_ranker("parts", home=judged).scorer(pair) == load_ranker("mine", home=judged).scorer(pair)


def test_a_file_of_judgements_of_passages_and_documents(plain, tmp_path):
    """Passages by id; a document by id, the beginning of one, or its address stands for its passage."""
    lines = []
    for n, thing in enumerate(THINGS):
        whole = passage(thing)
        document = whole.partition(":")[0]
        named = [whole, document, document[:12], f"test:{thing}/how", f"{document}:5-40"][n % 5]
        lines += [f"q{n}\t{named}\t2", f"q{n}\t{passage(thing, 'tags')}\t0"]
    (tmp_path / "qrels.tsv").write_text("\n".join(lines) + "\n")
    (tmp_path / "queries.tsv").write_text("".join(f"q{n}\told {thing}\n" for n, thing in enumerate(THINGS)))
    told = train("ranker", "knrm", "--judgements", tmp_path / "qrels.tsv", *LITTLE, home=plain)
    assert told["measured"]["dev"][0]["map"] == pytest.approx(1 / 3)
    assert told["kept"]
    assert isinstance(load_ranker(told["name"], home=plain), Neural)


def test_unknown_ids_are_named(plain, tmp_path):
    qrels, queries = tmp_path / "qrels.tsv", tmp_path / "texts.jsonl"
    lines = [f"q{n}\t{'f' * 31}{n}\t1" for n in range(7)] + [f"q0\t{passage('oven')}\t1"]
    qrels.write_text("\n".join(lines))
    asked = ["ranker", "knrm", "--judgements", qrels]
    assert "no queries.jsonl or queries.tsv beside it" in refused(*asked, home=plain)
    queries.write_text("".join(json.dumps({"_id": f"q{n}", "text": f"old {n}"}) + "\n" for n in range(7)))
    said = refused(*asked, "--queries", queries, home=plain)
    assert "7 documents that the library does not hold" in said
    assert f"'{'f' * 31}4' and 2 more" in said
    queries.write_text('{"_id": "q0", "text": "old oven"}\n')
    assert "6 queries without a text: 'q1', 'q2'" in refused(*asked, "--queries", queries, home=plain)
    queries.write_text('{"_id": "q0", "text": " "}\n')
    assert "no text for the query 'q0'" in refused(*asked, "--queries", queries, home=plain)
    qrels.write_text(f"q0\t{passage('oven')}\t1\n")
    queries.write_text('{"_id": "q0", "text": "old oven"}\n')
    assert "judged queries 1 has a relevant passage" in refused(*asked, "--queries", queries, home=plain)


@pytest.mark.slow
def test_without_judgements_headings_and_sentences_ask(with_headings):
    home = with_headings
    told = train("ranker", "drmm", *LITTLE, home=home)
    assert any("queries were made of headings" in note for note in told["notes"])
    assert told["curves"]["steps"] == 10
    assert (told["model"] is None) == (not told["kept"])


@pytest.mark.slow
def test_a_folder_in_beirs_layout(judged, tmp_path):
    """What `judge --export` wrote trains elsewhere; its test queries are measured only."""
    out = tmp_path / "out"
    exported = CliRunner().invoke(app, ["judge", "--export", str(out), "--home", str(judged)])
    assert exported.exit_code == 0, exported.output
    head, *lines = (out / "qrels" / "train.tsv").read_text().splitlines(keepends=True)
    (out / "qrels" / "test.tsv").write_text(head + "".join(lines[:6]))  # of two things
    asked = ["ranker", "knrm", "--data", out, "--test-split", "test", "--first-stage", "none", "--base", "none"]
    told = train(*asked, *LITTLE, home=tmp_path / "home")
    assert set(told["measured"]) == {"dev", "test"}
    assert "2 queries of train are asked in test, too, and were not learnt from." in told["notes"]


def test_a_library_of_one_passage_has_nothing_to_order(tmp_path):
    home = tmp_path / "home"
    library = Library.open(home, encoder="none")
    library.add_documents(list(texts())[:1])
    for query in ("old barrel", "neighbour of ours"):
        hit = library.search(query, 1)[0]
        keep_judgement(home / FILE, Judgement(query, hit.passage.span, str(hit.revision), 3))
    assert "every document answers it" in refused("ranker", "knrm", home=home)
    assert "Nothing was judged" not in refused("legal", "attentive-cnn", home=home)


def test_a_first_stage_that_finds_nothing_is_told(plain, tmp_path):
    (tmp_path / "qrels.tsv").write_text("".join(f"q{n}\t{passage(THINGS[n])}\t1\n" for n in range(3)))
    (tmp_path / "queries.tsv").write_text("".join(f"q{n}\tzzz{n}\n" for n in range(3)))
    said = refused("ranker", "knrm", "--judgements", tmp_path / "qrels.tsv", home=plain)
    assert "finds nothing for any of the 3 queries" in said


def test_options_that_do_not_go_together(plain, tmp_path):
    assert "--data has its own" in refused("ranker", "knrm", "--data", tmp_path, "--judgements", "x.tsv", home=plain)
    assert "--queries has the texts" in refused("ranker", "knrm", "--queries", "x.tsv", home=plain)
    assert "--test-split" in refused("legal", "--test-split", "test", home=plain)
    for option in (["--base", "minilm"], ["--frozen"]):
        assert "for a Paraformer" in refused("legal", "attentive-cnn", *option, home=plain)
    assert "--document-words" in refused("ranker", "cross-encoder", "--document-words", "9", home=plain)
    with pytest.raises(UnknownName, match="cross-encoder, pairwise"):
        train("ranker", "bert", home=plain)
    with pytest.raises(UnknownName, match="paraformer, attentive-cnn"):
        train("legal", "bm25", home=plain)


@pytest.mark.parametrize("kind", ["encoder", "late"])
def test_of_few_judged_queries_more_than_one_is_held_out(kind, judged, monkeypatch):
    """Of a dozen four, as for rankers: a model is not kept by the luck of one query."""
    asked = []

    def train_nothing(examples, *_, run, **__):
        asked.append((len(examples.queries), len(run.dev.queries)))
        raise InputError("nothing is trained here")

    module = {"encoder": "encoders", "late": "late_encoders"}[kind]
    monkeypatch.setattr(f"foveal.training.{module}.train_{module.removesuffix('s')}", train_nothing)
    assert "nothing is trained" in refused(kind, home=judged)
    assert asked == [(8, 4)]


@pytest.mark.parametrize("asks", ["judged", "headings"])
def test_two_seeds_are_measured_by_the_same_queries(asks, judged, with_headings, monkeypatch):
    given = []

    def train_nothing(examples, *_, run, **__):
        given.append((examples.queries, run.dev.queries))
        raise InputError("nothing is trained here")

    monkeypatch.setattr("foveal.training.encoders.train_encoder", train_nothing)
    home = judged if asks == "judged" else with_headings
    for seed in (0, 7):
        assert "nothing is trained" in refused("encoder", "--seed", seed, home=home)
    assert given[0] == given[1]


def test_rankers_that_other_commands_train_are_named_with_them(plain):
    for which, own in (("blockrank", "blockrank"), ("paraformer", "legal paraformer"), ("late", "late")):
        said = refused("ranker", which, home=plain)
        assert f"{which} has a command of its own: foveal train {own}. Here are: " in said
    assert "No ranker is called 'nobody'" in refused("ranker", "nobody", home=plain)


def test_a_bridge_begins_with_the_librarys_encoder(little_bert, plain, tmp_path, monkeypatch):
    """By another one it would be trained for minutes, and then refused by the library's search."""
    bases = []

    def train_nothing(_, base, *__, **___):
        bases.append(base)
        raise InputError("nothing is trained here")

    monkeypatch.setattr("foveal.training.lexsembridge.train_lexsembridge", train_nothing)
    own = tmp_path / "own"
    Library.open(own, encoder=str(little_bert)).add_documents(texts())
    pages = [document_id(f"test:{thing}/how") for thing in THINGS]
    (tmp_path / "qrels.tsv").write_text("".join(f"q{n}\t{page}\t1\n" for n, page in enumerate(pages)))
    (tmp_path / "queries.tsv").write_text("".join(f"q{n}\told {thing}\n" for n, thing in enumerate(THINGS)))
    for home, given in ((own, ()), (own, ("--base", "minilm")), (plain, ())):
        said = refused("lexsembridge", *given, "--judgements", tmp_path / "qrels.tsv", home=home)
        assert "nothing is trained" in said
    assert bases == [str(little_bert.resolve()), "minilm", "minilm"]


def test_a_bridge_learns_from_a_file_of_judgements_too(plain, tmp_path, monkeypatch):
    asked = []

    def train_nothing(examples, *_, run, **__):
        asked.append(({*examples.queries.values()} & {f"old {thing}" for thing in THINGS}, {*run.dev.queries.values()}))
        raise InputError("nothing is trained here")

    monkeypatch.setattr("foveal.training.lexsembridge.train_lexsembridge", train_nothing)
    (tmp_path / "qrels.tsv").write_text("".join(f"q{n}\t{passage(thing)}\t1\n" for n, thing in enumerate(THINGS)))
    (tmp_path / "texts.tsv").write_text("".join(f"q{n}\told {thing}\n" for n, thing in enumerate(THINGS)))
    given = ("--judgements", tmp_path / "qrels.tsv", "--queries", tmp_path / "texts.tsv")
    assert "nothing is trained" in refused("lexsembridge", *given, home=plain)
    learnt, dev = asked[0]
    assert (len(learnt), len(dev), learnt | dev) == (8, 4, {f"old {thing}" for thing in THINGS})


def test_a_teacher_that_the_arm_does_not_ask_is_refused(judged, little_bert):
    assert "the arm 'mined' asks none" in refused("encoder", "--teacher", little_bert, home=judged)
    assert "'denoised' needs a teacher" in refused("encoder", "--arm", "denoised", home=judged)


def test_a_teacher_is_known_by_its_files(judged, little_bert, tmp_path, monkeypatch):
    """By its name or its folder it is the same; trained anew in the same place it is another."""
    asked = []

    def train_nothing(*_, teacher, teacher_name, **__):
        asked.append((teacher_name, teacher([("old oven", "an old oven by hand")])))
        raise InputError("nothing is trained here")

    monkeypatch.setattr("foveal.training.encoders.train_encoder", train_nothing)
    place = judged / "models" / "my-reranker"
    for seed, teachers in ((0, ["my-reranker", place]), (1, ["my-reranker"])):
        model_folders.save_model(model_folders.cross_encoder(little_bert, seed=seed), place, replace=True)
        for teacher in teachers:
            said = refused("encoder", "--arm", "adversarial", "--teacher", teacher, home=judged)
            assert said == "nothing is trained here"
    assert asked[0] == asked[1]
    assert asked[0][0].startswith("my-reranker ")
    assert asked[2][0] != asked[0][0]
    assert asked[2][1] != asked[0][1]


def test_a_teacher_that_is_no_reranker_is_refused(judged, little_bert, tmp_path):
    """Before anything is read, and nothing is fetched."""
    asked = ["encoder", "--arm", "kl", "--teacher"]
    assert "There is no re-ranker 'my-teacher'" in refused(*asked, "my-teacher", home=judged)
    assert f"{little_bert} holds BertModel, no cross-encoder" in refused(*asked, little_bert, home=judged)
    assert f"{tmp_path} holds no cross-encoder" in refused(*asked, tmp_path, home=judged)


def test_a_game_needs_two_negatives(judged, little_bert):
    asked = ["encoder", "--arm", "adversarial", "--teacher", little_bert, "--negatives", "1"]
    assert "there is no game" in refused(*asked, home=judged)


@pytest.mark.parametrize(
    ("first_stage", "data", "said"),
    [
        (None, None, "foveal search … --rank mine --home .*; in all searches from now on: foveal train use mine"),
        ("lexical", None, "behind the search that it learnt behind: foveal search … --retriever lexical --rank mine"),
        ("minilm", Path("scifact"), "foveal search … --rank mine"),  # an encoder, no search of a library
    ],
    ids=["the library's own", "lexical", "of a folder"],
)
def test_a_ranker_is_to_be_used_behind_the_search_that_it_learnt_behind(first_stage, data, said, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("foveal.cli.training.told", lambda _report, _folder, use, *_, **__: shown.append(use))
    asked = AskedOfJudged(home=tmp_path, data=data)
    asked.told_ranker(SimpleNamespace(name="mine"), tmp_path, first_stage)
    assert re.fullmatch(f"Use it:? {said}.*", shown[0])


def test_help_names_every_choice():
    """The command tree imports no training, so the names stand there once more."""
    shown = CliRunner(env={"COLUMNS": "220"}).invoke(app, ["train", "ranker", "--help"]).stdout
    assert all(name in shown for name in (*FITS, *MODELS, *LOSSES, *OBJECTIVES))


# -- the others -------------------------------------------------------------------------------------------------------


def test_a_cross_encoder_from_the_library_s_judgements(judged, little_bert):
    told = train("ranker", "cross-encoder", "--base", little_bert, "--steps", "6", "--batch", "2", home=judged)
    assert told["what"] == "reranker, listwise, over lexical search of the library"
    assert told["measured"]["dev"][0]["mrr@10"] == pytest.approx(1 / 3)
    assert (told["model"] is None) == (not told["kept"])


@pytest.mark.slow
def test_blockrank_must_beat_the_first_stage_too(judged, tmp_path):
    model = tiny("qwen", tmp_path / "tiny")
    few = ["--layer", "1", "--objective", "aux", "--learned", "layers", "--documents", "3", "--steps", "3"]
    few += ["--batch", "4", "--learning-rate", "0.003"]
    told = train("blockrank", "--model", model.folder, "--name", "block", *few, home=judged)
    said = next(note for note in told["notes"] if "by the first stage (lexical search of the library)" in note)
    assert "mrr@10 0.3333" in said
    better = told["measured"]["dev"][1]["mrr@10"] > max(told["measured"]["dev"][0]["mrr@10"], 1 / 3)
    assert told["kept"] == better == (judged / "models" / "block").is_dir()
    assert better or (Path(told["run"]) / "rejected" / "blockrank.json").is_file()
    again = train("blockrank", "--model", model.folder, "--name", "block", *few, home=judged)
    assert (again["kept"], again["measured"]) == (told["kept"], told["measured"])


def test_blockrank_learns_from_lists_of_a_file(tmp_path):
    """JSON lines of a query, its candidates and its answers; no library is there."""
    lists = tmp_path / "lists.jsonl"
    rows = [
        {
            "query": f"the old {thing}",
            "documents": [{"doc_id": one, "text": f"The old {one} is in the mill."} for one in THINGS[:4]],
            "answer_ids": [thing],
        }
        for thing in THINGS[:4]
    ]
    lists.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    model, home = tiny("qwen", tmp_path / "tiny"), tmp_path / "home"
    few = ["--model", model.folder, "--layer", "1", "--objective", "aux", "--documents", "3", "--steps", "1"]
    told = train("blockrank", "--lists", lists, "--name", "listed", *few, home=home)
    assert told["what"] == "BlockRank, aux, lora"
    assert (home / "models" / "listed" / "blockrank.json").is_file() == told["kept"]
    rows[1]["answer_ids"] = ["nobody"]
    lists.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    said = refused("blockrank", "--lists", lists, *few, home=home)
    assert f"{lists}, line 2" in said
    assert "names the answer 'nobody', which is none of its 4 documents" in said
    assert "lists.jsonl" in refused("blockrank", "--lists", tmp_path / "no" / "lists.jsonl", *few, home=home)
    said = refused("blockrank", "--lists", lists, "--first-stage", "lexical", home=home)
    assert said.startswith("--lists has queries, candidates and answers of its own; leave out --data")


@pytest.mark.slow
def test_a_blockrank_that_keeps_what_it_reads(judged, tmp_path, monkeypatch):
    """Trained with --kept, a library is read for it, and a search reads no passage; one without is refused."""
    monkeypatch.setattr(
        "foveal.ranking.blockrank_kept.BlockCache", lambda _, **most: BlockCache(tmp_path / "kept", **most)
    )
    model = tiny("qwen", tmp_path / "tiny")
    few = [
        "--layer",
        "1",
        "--objective",
        "aux",
        "--learned",
        "layers",
        "--documents",
        "3",
        "--steps",
        "1",
        "--batch",
        "2",
    ]
    places = {}
    for name, more in (("keeps", ["--kept"]), ("forgets", [])):
        told = train("blockrank", "--model", model.folder, "--name", name, *few, *more, home=judged)
        places[name] = told["model"] or str(Path(told["run"]) / "rejected")
    asked = ["admin", "index", "--json", "--home", str(judged)]
    run = CliRunner()
    done = run.invoke(app, [*asked, f"blockrank:{places['keeps']}"], catch_exceptions=False)
    assert json.loads(done.stdout)["passages"] == 3 * len(THINGS)
    files = sorted((tmp_path / "kept").glob("*/*"))
    assert len(files) == 3 * len(THINGS) + 1  # and the instruction
    searched = ["search", "old oven", "--rank", places["keeps"], "--json", "--home", str(judged)]
    found = json.loads(run.invoke(app, searched, catch_exceptions=False).stdout)["hits"]
    assert found[0]["retriever"] == "blockrank"
    assert sorted((tmp_path / "kept").glob("*/*")) == files
    for name, message in (("blockrank:" + places["forgets"], "nothing can be kept"), ("blockrank", "Name a BlockRank")):
        assert message in str(run.invoke(app, [*asked, name]).exception)
    keeping = load_ranker(places["keeps"], home=judged)
    small = replace(keeping, cache=BlockCache(tmp_path / "small", most_bytes=40_000))
    for _ in range(2):
        with pytest.raises(InputError, match="36 passages would take about"):
            keep_library(small, Library.open(judged))


@pytest.mark.parametrize("engine", ["paraformer", "attentive-cnn"])
@pytest.mark.slow
def test_models_of_articles_over_a_librarys_passages(engine, judged, little_bert):
    few = ["--steps", "2", "--batch", "2", "--negatives", "4", "--learning-rate", "0.003"]
    base = ["--base", little_bert, "--frozen"] if engine == "paraformer" else []
    told = train("legal", engine, "--name", engine, *few, *base, home=judged)
    assert told["what"].startswith(engine)
    assert (told["model"] is None) == (not told["kept"]) == (not (judged / "models" / engine).is_dir())
    assert any("by words alone" in note or "first stage alone" in note for note in told["notes"])


@pytest.mark.slow
def test_token_vectors_from_the_library_s_judgements(judged, little_bert):
    few = ["--base", little_bert, "--dimension", "8", "--steps", "6", "--batch", "2", "--learning-rate", "0.01"]
    told = train("late", "--name", "tokens", *few, home=judged)
    assert told["what"] == "token vectors"
    assert set(told["measured"]["dev"][0]) == {"ndcg@10", "recall@100"}
    folder = judged / "models" / "tokens"
    assert told["kept"] == folder.is_dir()
    assert told["kept"] == (told["measured"]["dev"][1]["ndcg@10"] > told["measured"]["dev"][0]["ndcg@10"])
    again = train("late", "--name", "tokens", *few, home=judged)
    assert (again["kept"], again["measured"]) == (told["kept"], told["measured"])
    if told["kept"]:
        done = CliRunner().invoke(app, ["search", "mill", "--rank", "tokens", "--json", "--home", str(judged)])
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["hits"][0]["source"] == "late"
