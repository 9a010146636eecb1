"""A visitor names what the site has; no folder of the machine, and no model of a hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from paper_site import site_app
from starlette.testclient import TestClient

from foveal.errors import InputError, UnknownName
from foveal.registry import RETRIEVERS
from foveal.web.offered import CALLED, check_ranker, check_retriever, rankers, retrievers, searches

ELSEWHERE = [
    "/etc",
    ".",
    "..",
    "../secrets",
    "~",
    "some/model",
    "mine/../../secrets",
    "gpt2",
    "mine,/etc",
    "mine:3,a/b",
    "m" * 300,
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    (home / "models" / "mine").mkdir(parents=True)
    (home / "secrets").mkdir()
    return home


@pytest.fixture(scope="module")
def client(home: Path) -> Iterator[TestClient]:
    with TestClient(site_app(home)) as opened:
        yield opened


def test_of_models_trained_here_those_that_rank_are_offered(tmp_path: Path) -> None:
    one_score = '{"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}}'
    held = {
        "drmm": {"ranker.json": "{}"},
        "law": {"article-model.json": "{}"},
        "cross": {"config.json": one_score},
        "late": {"config.json": "{}", "config_sentence_transformers.json": '{"model_type": "MultiVectorEncoder"}'},
        "encoder": {"config.json": '{"architectures": ["BertModel"]}'},
        "topics": {"config.json": '{"architectures": ["BertForSequenceClassification"]}'},  # of two classes
        "odd": {"config.json": "[1]"},
        "damaged": {"config.json": "{"},
        "empty": {},
        "blockrank": {"blockrank.json": "{}"},
    }
    for name, files in held.items():
        (tmp_path / "models" / name).mkdir(parents=True)
        for file, text in files.items():
            (tmp_path / "models" / name / file).write_text(text)
    offered = rankers(tmp_path)
    assert offered[-4:] == ["cross", "drmm", "late", "law"]
    assert len(offered) == len(set(offered))


@pytest.mark.parametrize("name", ["", None, "blockrank", "mine", "mine:100,blockrank:20", " mine , blockrank"])
def test_what_the_site_has_may_rank(home: Path, name: str | None) -> None:
    check_ranker(name, home)


@pytest.mark.parametrize("count", ["1001", "100000", "0" * 9, "9" * 5000])
def test_a_visitor_does_not_keep_a_ranker_busy_for_hours(home: Path, count: str) -> None:
    check_ranker("mine:1000,blockrank:20", home)
    with pytest.raises(InputError, match="at most 1,000 candidates"):
        check_ranker(f"mine:{count},blockrank:20", home)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mine:1000,pairwise:101", "at most 100 candidates, not 101"),
        ("pairwise:100," * 4 + "pairwise:100", "at most 4 stages, not 5"),
    ],
)
def test_a_visitor_does_not_keep_a_language_model_busy_for_hours(home: Path, name: str, said: str) -> None:
    check_ranker("mine:1000,pairwise:100", home)
    with pytest.raises(InputError, match=said):
        check_ranker(name, home)


@pytest.mark.parametrize("name", ["", None, "hybrid", "generative", "generative:mine"])
def test_what_the_site_has_may_retrieve(home: Path, name: str | None) -> None:
    check_retriever(name, home)


def test_each_search_is_called_by_what_it_does(home: Path) -> None:
    assert CALLED.keys() == RETRIEVERS.keys()
    offered = searches(home, "generative:mine")
    assert list(offered) == [*retrievers(home), "generative:mine"]
    assert offered["dense"] == "meaning (dense)"
    assert offered["generative:mine"] == "titles that answer (generative:mine)"
    assert searches(home, "nosuch")["nosuch"] == "nosuch"


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_lies_elsewhere_is_not_looked_for(home: Path, name: str) -> None:
    with pytest.raises(UnknownName, match="trained here mine"):
        check_ranker(name, home)
    for retriever in (name, f"generative:{name}"):
        with pytest.raises(UnknownName, match=r"is called '.*' here\. There are: lexical"):
            check_retriever(retriever, home)


@pytest.mark.parametrize("name", ["/etc", "some/model"])
def test_pages_say_so_before_anything_is_opened(client: TestClient, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("foveal.ranking.by_name.load_ranker", lambda *_, **__: pytest.fail("it was opened"))
    for asked in ({"rank": name}, {"retriever": f"generative:{name}"}):
        answer = client.get("/papers", params={"q": "sparse attention", **asked})
        assert answer.status_code == 400
        assert "here. There are:" in answer.text
