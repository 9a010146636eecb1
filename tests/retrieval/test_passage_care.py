"""Indexes of passages are searched while others write them, mended, made anew, moved, and kept on a full disk."""

from __future__ import annotations

import json
import shutil
import threading

import pytest
from honest import document
from retrieval.passage_shelf import KINDS, Shelf, shelf_of_fruits, text_of
from retrieval.test_store import make, put

from foveal import faults
from foveal.backup import backup
from foveal.errors import InputError, LibraryBusy, LibraryCorrupt, LibraryTooNew, StorageFull
from foveal.retrieval import passage_files, passage_indexes, passage_making
from foveal.retrieval.passage_files import ABOUT, NEXT, writing
from foveal.retrieval.passage_making import bring_up_to_date
from foveal.retrieval.snapshots import snapshots
from foveal.retrieval.store import Store
from foveal.settings import Settings
from foveal.web.offered import check_retriever, retrievers

KIWI = "hairy kiwis are green"


@pytest.fixture
def shelf(own_settings, monkeypatch):
    return shelf_of_fruits(own_settings, monkeypatch)


def in_time(call, *, seconds: float = 20):
    """What a call gives, which waits for nobody."""
    given: list[object] = []
    thread = threading.Thread(target=lambda: given.append(call()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert given, "it waits"
    return given[0]


def counted(monkeypatch, module, name):
    """How often a function is called."""
    calls, real = [], getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args, **kwargs: (calls.append(args), real(*args, **kwargs))[1])
    return calls


# -- while others write -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_waits_for_nobody_who_writes(shelf, kind):
    bring_up_to_date(shelf, kind)
    folder = shelf.asked(kind).folder
    with writing(folder, wait=True):
        for one in (shelf, shelf.elsewhere()):
            assert in_time(lambda one=one: one.find("dried figs are sweet", kind, 1)) == ["dried figs are sweet"]
        put(shelf.store, [document("kiwis", KIWI)])
        before = passage_files.stamp(folder)
        assert in_time(lambda: shelf.find("hairy kiwis", kind, 1)) == [KIWI]  # read, and in memory only
        assert passage_files.stamp(folder) == before
    assert len(bring_up_to_date(shelf, kind)) == 19
    assert shelf.models[kind].read[18:] == [f"kiwis {KIWI}"] * 2


def test_while_one_search_reads_others_answer_by_what_is_known(shelf):
    bring_up_to_date(shelf, "late")
    shelf.find("figs", "late")
    put(shelf.store, [document("kiwis", KIWI)])
    held = passage_indexes._held[shelf.store][shelf.asked("late").folder]
    with held.lock:  # another one looks what changed
        assert KIWI not in in_time(lambda: shelf.find("hairy kiwis", "late", 9))
    assert shelf.find("hairy kiwis", "late", 1) == [KIWI]


def test_a_search_writes_nothing_where_nothing_came_and_needs_no_lock(shelf):
    bring_up_to_date(shelf, "sparse")
    lock = shelf.asked("sparse").folder / ".writer"
    lock.unlink()
    assert shelf.elsewhere().find("dried figs are sweet", "sparse", 1) == ["dried figs are sweet"]
    assert not lock.exists()


def test_two_who_make_it_at_once_make_it_once(shelf, monkeypatch):
    monkeypatch.setattr(passage_making, "AT_ONCE", 4)
    made: list[int] = []
    others = [shelf.elsewhere() for _ in range(3)]
    threads = [
        threading.Thread(target=lambda one=one: made.append(len(bring_up_to_date(one, "late")))) for one in others
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert made == [18, 18, 18]
    assert len(shelf.models["late"].read) == 18


# -- what is looked up once -------------------------------------------------------------------------------------------


def test_many_that_are_missing_are_looked_for_once(shelf, monkeypatch):
    bring_up_to_date(shelf, "late")
    monkeypatch.setattr(passage_indexes, "FEW", 2)
    put(shelf.store, [document("kiwis", text_of("kiwis"))])
    looked = counted(monkeypatch, passage_indexes, "visible_names")
    for _ in range(3):
        shelf.find("dried figs are sweet", "late", 1)
    assert len(looked) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_condition_is_looked_up_once_and_one_that_nothing_meets_reads_nothing(shelf, kind, monkeypatch):
    bring_up_to_date(shelf, kind)
    looked = counted(monkeypatch, passage_indexes, "stored_names")
    for _ in range(3):
        assert shelf.find("ripe plums fall early", kind, 2, where="title=plums")[0] == "ripe plums fall early"
    assert len(looked) == 1
    monkeypatch.setattr(type(shelf.asked(kind).kind), "best", None)
    assert shelf.find("ripe plums", kind, 4, where="title=kiwis") == []


def test_a_library_that_was_made_again_has_an_index_of_its_own(shelf):
    assert shelf.find("dried figs are sweet", "late", 1) == ["dried figs are sweet"]
    version = shelf.store._documents.version
    shutil.rmtree(shelf.store.uri)
    again = make(shelf.settings.home / "library", encoder=None)
    put(again, [document("kiwis", KIWI)])
    assert again._documents.version == version
    for store in (again, shelf.store):  # one that was opened before sees the new one, too
        assert Shelf(store, shelf.settings, shelf.models).find("dried figs", "late", 9) == [KIWI]


# -- damaged, outgrown, made anew -------------------------------------------------------------------------------------


def damaged_list(folder):
    (folder / ABOUT).write_text("{", encoding="utf-8")


def damaged_array(folder):
    path = next(folder.glob("*/names.npy"))
    path.write_bytes(path.read_bytes()[:40])


def lost_segment(folder):
    shutil.rmtree(folder / f"{snapshots(folder)[-1]:06d}")


def strange_names(folder):
    path = next(folder.glob("*/name_ends.npy"))
    whole = bytearray(path.read_bytes())
    whole[-8:] = (2**40).to_bytes(8, "little")
    path.write_bytes(bytes(whole))


@pytest.mark.parametrize("damage", [damaged_list, damaged_array, lost_segment, strange_names])
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_index_is_named_and_mended_by_the_command(shelf, kind, damage, caplog):
    bring_up_to_date(shelf, kind)
    damage(shelf.asked(kind).folder)
    with pytest.raises(LibraryCorrupt, match=f"Make it again: foveal admin index {kind}$"):
        shelf.elsewhere().find("figs", kind)
    assert len(bring_up_to_date(shelf.elsewhere(), kind)) == 18
    assert "is damaged, and is made anew" in caplog.text
    assert shelf.elsewhere().find("dried figs are sweet", kind, 1) == ["dried figs are sweet"]


def test_a_newer_index_is_left_alone(shelf):
    bring_up_to_date(shelf, "late")
    about = shelf.asked("late").folder / ABOUT
    about.write_text(about.read_text().replace('"format": 1', '"format": 99'), encoding="utf-8")
    with pytest.raises(LibraryTooNew, match="Update Foveal"):
        bring_up_to_date(shelf, "late")
    assert '"format": 99' in about.read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_made_anew_the_old_one_serves_until_the_new_one_is_whole(shelf, kind, monkeypatch):
    bring_up_to_date(shelf, kind)
    monkeypatch.setattr(passage_making, "AT_ONCE", 7)
    folder, read = shelf.asked(kind).folder, shelf.models[kind].read
    read.clear()

    def stop(done, of):
        assert of in (18, 11)
        assert shelf.elsewhere().find("dried figs are sweet", kind, 1) == ["dried figs are sweet"]
        assert len(shelf.asked(kind).open()) == 18
        if done == 7 and of == 18:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring_up_to_date(shelf, kind, anew=True, on_progress=stop)
    assert (folder / NEXT).is_file()
    bring_up_to_date(shelf, kind, on_progress=stop)  # stopped, the same command goes on, and without --anew, too
    assert len(read) == 18
    assert not (folder / NEXT).exists()
    assert len(shelf.asked(kind).open()) == 18
    assert len(snapshots(folder)) == (4 if kind == "late" else 3)  # three groups, and the codec


def test_an_index_that_was_laid_out_for_far_less_is_made_anew_by_the_command(shelf, caplog):
    small = make(shelf.settings.home / "small", encoder=None)
    put(small, [document("figs", text_of("figs"))])
    few = Shelf(small, shelf.settings, shelf.models)
    few.find("figs", "late")
    assert len(few.asked("late").open().segments[0].part.codec.centroids) == 4
    put(small, [document(f"n{number}", text_of(f"fruit{number} of tree{number}")) for number in range(80)])
    few.find("figs", "late")
    assert len(few.asked("late").open()) == 3  # 240 more are left to the command
    index = bring_up_to_date(few, "late")
    assert "was laid out for 3 passages, and there are 243: it is made anew" in caplog.text
    assert {len(segment.part.codec.centroids) for segment in index.segments} == {128}
    assert few.find("dried fruit7 of tree7 are sweet", "late", 1) == ["dried fruit7 of tree7 are sweet"]
    bring_up_to_date(few, "late")
    assert caplog.text.count("it is made anew") == 1


def test_a_small_one_is_laid_out_anew_by_the_search(shelf):
    small = make(shelf.settings.home / "small", encoder=None)
    put(small, [document("figs", "figs are sweet\n")])
    few = Shelf(small, shelf.settings, shelf.models)
    few.find("figs", "late")
    put(small, [document(f"n{number}", text_of(f"fruit{number}")) for number in range(40)])
    assert few.find("dried fruit7 are sweet", "late", 1) == ["dried fruit7 are sweet"]
    assert few.asked("late").open().planned == 121


# -- homes, models, disks ---------------------------------------------------------------------------------------------


def test_a_home_may_be_moved(shelf, tmp_path):
    bring_up_to_date(shelf, "late")
    shutil.copytree(shelf.settings.home, tmp_path / "copy")
    shelf.models["late"].read.clear()
    settings = Settings(home=tmp_path / "copy", cache=shelf.settings.cache)
    copied = Shelf(Store.open(str(settings.library)), settings, shelf.models)
    assert copied.find("dried figs are sweet", "late", 1) == ["dried figs are sweet"]
    assert not shelf.models["late"].read


def test_indexes_of_what_a_model_was_before_go_once_the_new_one_is_whole(shelf):
    other = Shelf(make(shelf.settings.home / "other", encoder=None), shelf.settings, shelf.models)
    put(other.store, [document("figs", text_of("figs"))])
    for one, model in ((shelf, "mine"), (shelf, "yours"), (other, "mine")):
        shelf.models["late"] = type(shelf.models["late"])(salt=f"{model} before")
        bring_up_to_date(one, "late", model)
    left = shelf.settings.home / "indexes" / "late-left"
    left.mkdir()
    shelf.models["late"] = type(shelf.models["late"])(salt="mine after")
    bring_up_to_date(shelf, "late", "mine")
    made = passage_files.made_indexes(shelf.settings.home)
    assert sorted((about.library, about.model, about.fingerprint[-6:]) for about in made.values()) == [
        ("library", "mine", " after"),
        ("library", "yours", "before"),
        ("other", "mine", "before"),
    ]
    assert {path.name for path in left.parent.iterdir()} == {folder.name for folder in made}


def test_with_a_model_go_its_indexes(shelf):
    """Not those of other models, nor one that is being written."""
    home = shelf.settings.home
    for model in ("mine", "yours", str(home / "models" / "mine"), ""):
        shelf.models["late"] = type(shelf.models["late"])(salt=model)
        bring_up_to_date(shelf, "late", model or None)
    made = {about.model: folder for folder, about in passage_files.made_indexes(home).items()}
    with writing(made["mine"], wait=True):
        assert passage_files.remove_of_model(home, home / "models" / "mine") == [made[str(home / "models" / "mine")]]
    assert passage_files.remove_of_model(home, home / "models" / "mine") == [made["mine"]]
    assert {about.model for about in passage_files.made_indexes(home).values()} == {"yours", ""}
    assert not made["mine"].exists()


def test_a_full_disk_is_said_and_a_search_goes_on_in_memory(shelf, caplog):
    with faults.injected({"store.write": "full"}), pytest.raises(StorageFull, match="free some space"):
        bring_up_to_date(shelf, "late")
    bring_up_to_date(shelf, "late")
    put(shelf.store, [document("kiwis", KIWI)])
    with faults.injected({"store.write": "full"}):
        assert shelf.find("hairy kiwis", "late", 1) == [KIWI]
    assert "stays in memory: No space is left" in caplog.text
    assert len(shelf.asked("late").open()) == 18
    read = len(shelf.models["late"].read)
    assert shelf.find("hairy kiwis", "late", 1) == [KIWI]
    assert len(shelf.models["late"].read) == read


def test_a_home_that_cannot_be_written_is_searched(shelf, caplog):
    bring_up_to_date(shelf, "late")
    lock = shelf.asked("late").folder / ".writer"
    lock.unlink()
    lock.mkdir()  # refused to all, and to the superuser too
    put(shelf.store, [document("kiwis", KIWI)])
    assert shelf.elsewhere().find("hairy kiwis", "late", 1) == [KIWI]
    assert "stays in memory" in caplog.text


def test_what_a_kill_left_goes_with_the_next_writing(shelf):
    bring_up_to_date(shelf, "late")
    folder = shelf.asked("late").folder
    (folder / ".partial-x").mkdir()
    (folder / ".partial-x.json").write_text("{", encoding="utf-8")
    shutil.copytree(folder / "000002", folder / "000007")
    put(shelf.store, [document("kiwis", KIWI)])
    shelf.find("hairy kiwis", "late", 1)
    listed = json.loads((folder / ABOUT).read_text())
    assert snapshots(folder) == sorted([listed["shared"], *listed["segments"]])
    assert not list(folder.glob(".partial-*"))


def test_a_backup_leaves_indexes_out_and_copies_whole_ones_where_all_is_asked_for(shelf, tmp_path):
    bring_up_to_date(shelf, "late")
    backup(shelf.settings, tmp_path / "without")
    assert not (tmp_path / "without" / "indexes").exists()
    with writing(shelf.asked("late").folder, wait=True), pytest.raises(LibraryBusy, match="index of passages"):
        backup(shelf.settings, tmp_path / "busy", everything=True)
    backup(shelf.settings, tmp_path / "all", everything=True)
    shelf.models["late"].read.clear()
    settings = Settings(home=tmp_path / "all", cache=shelf.settings.cache)
    copied = Shelf(Store.open(str(settings.library)), settings, shelf.models)
    assert copied.find("dried figs are sweet", "late", 1) == ["dried figs are sweet"]
    assert not shelf.models["late"].read


def test_a_site_offers_the_indexes_that_were_made(shelf, monkeypatch, tmp_path):
    home = shelf.settings.home
    made = [name for name in retrievers(home) if name.partition(":")[0] in KINDS]
    assert made == []
    monkeypatch.setattr(passage_indexes, "FEW", 2)
    with pytest.raises(InputError, match="no index"):
        shelf.find("figs", "late")
    assert retrievers(home).count("late") == 0  # what was refused is not offered
    for kind, model in (("late", "tokens"), ("sparse", "naver/splade-v3"), ("late", str(tmp_path))):
        shelf.models[kind] = type(shelf.models[kind])(salt=model)
        bring_up_to_date(shelf, kind, model)
    assert [name for name in retrievers(home) if name.partition(":")[0] in KINDS] == [
        "late:tokens",
        "sparse:naver/splade-v3",
    ]
    check_retriever("sparse:naver/splade-v3", home)
    with pytest.raises(InputError, match="No retriever is called"):
        check_retriever(f"late:{tmp_path}", home)
    shelf.models["late"] = type(shelf.models["late"])(salt="own choice")
    bring_up_to_date(shelf, "late")
    assert "late" in retrievers(home)


def test_segments_whose_list_cannot_be_read_just_now_are_kept(shelf, monkeypatch):
    """Deleted, hours of making an index anew would be gone by a moment's error of the disk."""
    bring_up_to_date(shelf, "late")
    monkeypatch.setattr(passage_making, "AT_ONCE", 7)
    folder = shelf.asked("late").folder

    def stop(done, of):
        if done == 7 and of == 18:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring_up_to_date(shelf, "late", anew=True, on_progress=stop)
    (folder / NEXT).rename(folder / "kept")
    (folder / NEXT).symlink_to("/proc/self/mem")  # there, and its reading is an error of the machine (EIO)
    before = set(snapshots(folder))
    put(shelf.store, [document("kiwis", KIWI)])
    assert shelf.find("hairy kiwis", "late", 1) == [KIWI]  # writes what is new
    assert before <= set(snapshots(folder))
    (folder / "kept").replace(folder / NEXT)
    shelf.models["late"].read.clear()
    assert len(bring_up_to_date(shelf, "late")) == 19
    assert len(shelf.models["late"].read) == 12  # the first seven were kept
    assert not (folder / NEXT).exists()
