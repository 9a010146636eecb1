"""The benches `scale-faults` and `scale-web` at a small size: their checks can fail, and what they count is right."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from foveal.bench import scale_faults, scale_faults_library, scale_faults_site, scale_faults_store, scale_web
from foveal.bench.light_client import Answer
from foveal.bench.scale_faults import TRIALS, Tally, run
from foveal.bench.scale_faults_library import DAMAGES, Files, all_but, damaged, held_against, unreachable
from foveal.bench.scale_faults_trials import Found, Unavailable, Victim, home_in
from foveal.bench.scale_web import Asked, paths_of
from foveal.bench.settings import BenchSettings
from foveal.library import Library


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale_faults_library, "DOCUMENTS", 8)


def filled(folder: Path) -> tuple[Path, Files, Library]:
    home, files = home_in(folder), Files(folder, random.Random(0))
    library = Library.open(home, encoder="none")
    library.add([files.folder])
    return home, files, library


def test_a_whole_library_is_found_whole_and_broken_ones_are_told_from_it(tmp_path: Path) -> None:
    home, files, library = filled(tmp_path)
    found = Found()
    held_against(home, files, found, acked=[*files.texts])
    assert (found.violations, found.checked > 20) == ([], True)
    victim = library.documents()[0]

    def told(broken: Callable[[], object], **known: object) -> list[str]:
        broken()
        again = Found()
        held_against(home, files, again, **{"acked": [], **known})  # type: ignore[arg-type]
        return again.violations

    half = told(lambda: library.store._passages.delete(f"document_id = '{victim.id}' AND start > 0"))
    assert any("half visible" in one for one in half)
    library.remove([victim])
    assert any("lost" in one for one in told(lambda: None, acked=[victim.id]))
    files.write(int(files.paths[library.documents()[0].id].stem), 1)
    late = library.documents()[0].id
    assert any("the text of before" in one for one in told(lambda: None, acked=[late], today=[late]))
    assert told(lambda: None, acked=[late]) == []  # nobody said that it was read anew
    other = library.documents()[0]
    assert any("removed and there" in one for one in told(lambda: None, gone=[other.id]))
    files.texts[other.id] = ["# Another text"]
    assert any("not a text" in one for one in told(lambda: None))


def test_a_removal_that_takes_others_along_is_told(tmp_path: Path) -> None:
    home, files, library = filled(tmp_path)
    first, second, third = library.documents()[:3]
    library.remove([first, second])
    found = Found()
    all_but(home, files, [first.id], found)  # the second's may have been about to be acknowledged
    assert found.violations == []
    library.remove([third])
    all_but(home, files, [first.id], found)
    assert len(found.violations) == 1
    assert "not removed and lost" in found.violations[0]


def test_a_store_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    found = unreachable(random.Random(1), tmp_path)
    assert (found.struck, found.violations) == (1, [])


@pytest.mark.parametrize("stored", [False, True])
def test_an_object_store_that_is_cut_off_has_what_was_stored_when_it_is_back(stored: bool) -> None:
    """The write that is cut is stored, or is not; who wrote it sees the same in both cases."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import ConnectionClosedError, EndpointConnectionError

    with scale_faults_store.object_store(3, stored=stored) as (store, uri):  # the third write: 1 makes the bucket
        once = Config(retries={"max_attempts": 0})
        client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{store.port}", config=once)
        bucket = uri.split("/")[2]
        client.put_object(Bucket=bucket, Key="before", Body=b"1")
        with pytest.raises(ConnectionClosedError):
            client.put_object(Bucket=bucket, Key="cut", Body=b"2")
        assert store.cut.is_set()
        store.stop()
        with pytest.raises((EndpointConnectionError, ConnectionClosedError)):  # the second: by one it still has
            client.list_objects_v2(Bucket=bucket)
        store.start()
        found = [one["Key"] for one in client.list_objects_v2(Bucket=bucket)["Contents"]]
        assert found == ["before", *["cut"] * stored]


@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_file_is_said_or_harmless(tmp_path: Path, seed: int) -> None:
    found = damaged(random.Random(seed), tmp_path)
    assert (found.struck, found.violations) == (1, [])


@pytest.mark.parametrize("how", sorted(DAMAGES))
def test_every_damage_is_one(tmp_path: Path, how: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(1, 256)) * 40)
    before = path.read_bytes()
    DAMAGES[how](path, random.Random(3))
    assert not path.exists() or path.read_bytes() != before


def test_trials_take_turns_and_what_breaks_counts() -> None:
    seen: list[str] = []

    def well(draw: random.Random, folder: Path) -> Found:
        seen.append(f"well {draw.random():.3f}")
        assert folder.is_dir()
        return Found(struck=1, checked=2)

    def breaks(draw: random.Random, folder: Path) -> Found:
        raise KeyError("a mistake")

    def absent(draw: random.Random, folder: Path) -> Found:
        raise Unavailable("there is no database server")

    tallies = run({"well": well, "breaks": breaks, "absent": absent}, 0.0, 7)
    assert tallies["well"].found.struck == 1
    assert "KeyError" in tallies["breaks"].found.violations[0]
    assert tallies["absent"].unavailable == "there is no database server"
    first = list(seen)
    run({"well": well}, 0.0, 7)
    assert seen[1:] == first
    rows = {row.metric: row for row in scale_faults._rows("breaks", tallies["breaks"])}
    assert rows["violations"].ok is False
    assert rows["faults that struck"].ok is False
    assert [row.note for row in scale_faults._rows("absent", tallies["absent"])] == [
        "not here: there is no database server"
    ]


def test_a_database_server_is_had_without_a_folder_of_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where XDG_RUNTIME_DIR is not set, who imports it first is warned."""

    def warned(*_: str, **__: str) -> str:
        warnings.warn("XDG_RUNTIME_DIR is not set", stacklevel=2)
        return "pgserver"

    monkeypatch.setattr(scale_faults_site, "require", warned)
    assert scale_faults_site._postgres() == "pgserver"


def test_the_rows_of_the_bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(scale_faults, "run", lambda *_: {"x": Tally(2, Found(2, 9, [], 0, [0.5, 1.5]), "", 3.0)})
    rows = list(scale_faults.faults(BenchSettings(data=tmp_path, cache=tmp_path, quick=True)))
    assert {(row.system, row.metric) for row in rows if row.bar} == {
        ("x", "faults that struck"), ("x", "violations"), ("all", "violations"),
    }  # fmt: skip
    assert all(row.ok is not False for row in rows)
    assert len(TRIALS) == 16


@pytest.mark.slow
def test_a_victim_is_heard_and_killed(tmp_path: Path) -> None:
    files = Files(tmp_path, random.Random(0))
    with Victim("add", home_in(tmp_path), files.folder, variables={"FOVEAL_FAULTS": "store.before-index=kill"}) as one:
        assert one.begun() == ""
        assert one.ended() == -9
    assert not one.done
    assert sorted(one.acked) == sorted(files.texts)
    with Victim("add", tmp_path / "nowhere" / "x", tmp_path / "not-there") as one:
        assert one.ended() == 1
        assert any(line.startswith("error InputError") for line in one.lines), one.errors


def test_what_a_crowd_gets_is_told_apart() -> None:
    got = Asked()
    for status, headers, text in (
        (200, {}, b"<html></html>\n"), (200, {}, b"<html> cut"), (500, {}, b"x"), (503, {"retry-after": "3"}, b"x"),
        (503, {}, b"x"),
    ):  # fmt: skip
        got.note(Answer(status, headers, text), "/papers", 5.0)
    assert (len(got.waits_ms), len(got.refusals_ms), got.without_hint) == (1, 2, 1)
    assert got.errors == ["200 /papers", "500 /papers"]


@pytest.mark.slow
def test_readers_and_a_crowd_at_a_small_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "READERS": 12,
        "QUICK_SECONDS": 6,
        "PAPERS": 60,
        "CROWD": 20,
        "CROWD_S": 2,
        "THINK_S": 0.5,
    }.items():
        monkeypatch.setattr(scale_web, name, value)
    rows = list(scale_web.web(BenchSettings(data=tmp_path, cache=tmp_path, quick=True)))
    assert {row.system for row in rows} == {
        "12 readers, 6 s", "overload", "overload, without admission control",
    }  # fmt: skip
    assert [row for row in rows if row.metric in ("errors and refusals", "errors") and row.value] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TRIALS))
def test_every_trial_finds_no_violation(name: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    try:
        found = TRIALS[name](random.Random(f"test/{name}"), tmp_path)
    except Unavailable as missing:
        pytest.skip(str(missing))
    assert found.violations == []


def test_readers_open_what_there_is() -> None:
    from foveal.bench.papers_synthetic import Drawn

    papers = [Drawn(f"26.{n}", 0, f"One two three {n}", "x") for n in range(30)]
    paths = paths_of(papers, "2026-01-01", 0)
    assert paths == paths_of(papers, "2026-01-01", 0)
    assert sum("?q=" in path for path in paths) == 15
