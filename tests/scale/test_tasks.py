"""Tasks that die, and errors of a cluster, over a `ray` of one process; Ray's own errors where it is installed."""

from __future__ import annotations

from collections import Counter

import pytest
from one_process_ray import NodeDiedError, OneProcessRay, OutOfMemoryError, WorkerCrashedError

from foveal.errors import FetchFailed, LibraryBusy, LibraryError, StorageFull
from foveal.scale.cluster import our_errors, rays_own
from foveal.scale.tasks import CRASHED, LOSSES, LOST, TRIES, Tasks, crashed


def doubled(number: int) -> int:
    return 2 * number


def dying(times: int, kind: type[Exception]):
    """Each task dies so many times."""
    died: Counter[int] = Counter()

    def dies(number: int) -> None:
        died[number] += 1
        if died[number] <= times:
            raise kind("10.0.0.1: /a/path")

    return OneProcessRay(dies)


@pytest.mark.parametrize("kind", [WorkerCrashedError, OutOfMemoryError])
def test_a_task_whose_process_dies_each_time_comes_to_an_end(kind):
    tasks = Tasks(dying(TRIES - 1, kind), doubled)
    assert tasks.result(tasks.begin(4)) == 8
    tasks = Tasks(ray := dying(TRIES, kind), doubled)
    with pytest.raises(LibraryError, match=kind.__name__) as told:
        tasks.result(tasks.begin(4))
    assert crashed(told.value)
    assert "10.0.0.1" not in str(told.value)
    assert len(ray.begun) == TRIES


def test_a_node_that_dies_is_no_fault_of_a_task_but_for_a_score_of_them():
    tasks = Tasks(dying(LOSSES, NodeDiedError), doubled)
    assert tasks.result(tasks.begin(4, tries=1)) == 8
    tasks = Tasks(dying(LOSSES + 1, NodeDiedError), doubled)
    with pytest.raises(LibraryError, match="NodeDiedError") as told:
        tasks.result(tasks.begin(4))
    assert not crashed(told.value)


def test_tasks_that_were_lost_together_are_begun_again_together():
    tasks = Tasks(ray := dying(1, NodeDiedError), doubled)
    begun = [tasks.begin(number) for number in range(5)]
    assert tasks.result(begun[0]) == 0
    assert len(ray.begun) == 10
    assert [tasks.result(one) for one in begun[1:]] == [2, 4, 6, 8]
    assert len(ray.begun) == 10


@pytest.mark.parametrize("kind", [LibraryBusy, ZeroDivisionError])
def test_what_a_task_raised_is_raised_and_not_tried_again(kind):
    tasks = Tasks(ray := dying(1, kind), doubled)
    with pytest.raises(kind):
        tasks.result(tasks.begin(4))
    assert len(ray.begun) == 1


def test_what_is_stopped_is_what_was_not_taken():
    tasks = Tasks(ray := OneProcessRay(), doubled)
    begun = [tasks.begin(number) for number in range(4)]
    tasks.result(begun[1])
    tasks.stop()
    assert {*ray.cancelled} == {ray.begun[0], *ray.begun[2:]}
    tasks.stop()
    assert len(ray.cancelled) == 3
    tasks.begin(4)
    ray.connected = False  # asked for anything, Ray would start a cluster
    tasks.stop()
    assert len(ray.cancelled) == 3


def test_what_ray_tells_of_an_error_becomes_the_error_itself():
    told = pytest.importorskip("ray.exceptions").RayTaskError
    given = ("proc", 1, "10.0.0.1")
    raised = told("f", "Traceback:\n  a task\nLibraryBusy", LibraryBusy("the words of a task"), *given)
    outer = told("g", "Traceback:\n  a task of a task", raised.as_instanceof_cause(), *given)
    for error in (raised, raised.as_instanceof_cause(), outer.as_instanceof_cause()):
        with pytest.raises(LibraryError) as found, our_errors():
            raise error
        assert type(found.value) is LibraryBusy
        assert str(found.value) == "the words of a task"
        assert found.value.__cause__ is error
    caused = told("f", "Traceback:", StorageFull("no space"), *given)
    with pytest.raises(StorageFull, match=r"^no space$"), our_errors():
        raise ValueError("what a task made of it") from caused
    mistake = told("f", "Traceback:", ConnectionError("a task's own"), *given).as_instanceof_cause()
    with pytest.raises(ConnectionError) as kept, our_errors():
        raise mistake
    assert kept.value is mistake


def test_an_error_of_ours_that_no_task_raised_stays_as_it_is():
    for error in (FetchFailed("too slow"), KeyError("a mistake")):
        with pytest.raises(type(error)) as found, our_errors():
            raise error
        assert found.value is error
        assert found.value.__cause__ is None


def test_rays_own_errors_become_ours_and_are_told_apart():
    ray = pytest.importorskip("ray.exceptions")
    lost = [ray.NodeDiedError("10.0.0.1"), ray.ObjectLostError("ab", None, ""), ray.OwnerDiedError("ab", None, "")]
    died = [ray.WorkerCrashedError(), ray.OutOfMemoryError("10.0.0.1")]
    for error in [*lost, *died, ray.RaySystemError("10.0.0.1"), ray.RpcError("10.0.0.1"), ConnectionError("10.0.0.1")]:
        assert bool(rays_own(error) & LOST) is (error in lost)
        assert bool(rays_own(error) & CRASHED) is (error in died)
        with pytest.raises(LibraryError, match=type(error).__name__) as found, our_errors():
            raise error
        assert "10.0.0.1" not in str(found.value)


class GoneRay(OneProcessRay):
    """A cluster that is lost: of nothing it can be told that it is not wanted any more."""

    def cancel(self, ref) -> None:
        super().cancel(ref)
        raise NodeDiedError("10.0.0.1")


def test_where_nothing_can_be_cancelled_any_more_the_first_error_is_told_and_all_are_tried(caplog):
    tasks = Tasks(ray := GoneRay(), doubled)
    begun = [tasks.begin(number) for number in range(3)]
    tasks.stop()
    assert set(ray.cancelled) == {one.ref for one in begun}
    assert "could not be cancelled (NodeDiedError)" in caplog.text
