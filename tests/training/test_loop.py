"""The one loop: what is trained, what is measured, and what a kill, Ctrl-C or a wrong checkpoint does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import wraps
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from foveal import faults
from foveal.errors import InputError, StorageFull
from foveal.training import checkpoints
from foveal.training.loop import Job, LoopSettings, PlannedBatches, fitted, identity, train, undecayed
from foveal.training.watch import Progress, TrainingFailed

SETTINGS = LoopSettings(epochs=3, batch=4, learning_rate=0.05, checkpoint_every=2, evaluate_every=2)


class Line(nn.Module):
    """y = w x + b with dropout, so that random numbers matter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.bias = nn.Parameter(torch.zeros(()))
        self.drop = nn.Dropout(0.3)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": ((self.drop(x) @ self.weight + self.bias - y) ** 2).mean()}


def points() -> list[dict[str, torch.Tensor]]:
    x = torch.randn(22, 3, generator=torch.Generator().manual_seed(0))
    return [{"x": one, "y": one @ torch.tensor([1.0, -2.0, 0.5]) + 0.25} for one in x]


def closeness(model: nn.Module) -> dict[str, float]:
    return {"closeness": -float((model.weight.detach() - torch.tensor([1.0, -2.0, 0.5])).abs().sum())}


def job(model: nn.Module | None = None, **options: object) -> Job:
    basis = {"data": "points", "base": "line"}
    return Job(model or Line(), points(), identity=basis, evaluate=closeness, metric="closeness", **options)


class Resting(nn.Module):
    """A loss without a slope: weight decay alone moves what it touches."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.line = nn.RMSNorm(3), nn.Linear(3, 3)
        self.inner = nn.Module()
        self.inner.undecayed = ("initial",)
        self.inner.initial = nn.ParameterList([torch.ones(3, 3)])
        self.inner.other = nn.Parameter(torch.ones(3, 3))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": 0 * (sum(one.sum() for one in self.parameters()) + x.sum() + y.sum())}


def test_weight_decay_leaves_alone_what_it_must(tmp_path):
    model = Resting()
    first = {name: one.clone() for name, one in model.named_parameters()}
    settings = replace(SETTINGS, weight_decay=0.5, evaluate_every=None, checkpoint_every=None)
    train(Job(model, points(), identity={"data": "points"}), settings, tmp_path)
    moved = {name for name, one in model.named_parameters() if not torch.equal(one, first[name])}
    assert moved == {"line.weight", "inner.other"}
    assert undecayed(model) == {"before.weight", "inner.initial.0"}


def test_it_learns_and_reports(tmp_path):
    seen: list[Progress] = []
    one = job()
    curves = train(
        one, replace(SETTINGS, epochs=20, evaluate_every=20, checkpoint_every=60), tmp_path, on_progress=seen.append
    )
    assert curves.steps == 20 * 6
    assert curves.ended == "finished"
    assert curves.losses[-1][1] < curves.losses[0][1] / 2
    assert curves.metrics[0][0] == 0
    assert closeness(one.model)["closeness"] == max(m["closeness"] for _, m in curves.metrics)
    assert dict(curves.metrics)[curves.best_step]["closeness"] == closeness(one.model)["closeness"]
    assert [progress.step for progress in seen if progress.metrics] == [step for step, _ in curves.metrics]
    assert not list(tmp_path.glob("checkpoint-*"))


def test_an_optimizer_of_ones_own_takes_the_loops_rates(tmp_path):
    class Still(Line):
        def forward(self, x, y):
            return {"loss": self.bias + 0 * (x.sum() + y.sum()) + 0 * self.weight.sum()}

    model = Still()
    made = Job(model, points(), optimizer=lambda model: torch.optim.SGD(model.parameters(), lr=1.0))
    train(made, replace(SETTINGS, steps=4, warm_up=0.5), tmp_path)
    assert model.bias.item() == pytest.approx(-(0 + 1 / 2 + 1 + 1 / 2), abs=1e-4)  # up in two steps, down in two


def test_the_same_seed_gives_the_same_model_and_leaves_the_callers_randomness_alone(tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second, other = job(), job(), job()
    for name, one, settings in (
        ("a", first, SETTINGS),
        ("b", second, SETTINGS),
        ("c", other, replace(SETTINGS, seed=1)),
    ):
        train(one, settings, tmp_path / name)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.model.weight, second.model.weight)
    assert not torch.equal(first.model.weight, other.model.weight)


ASKED = {"ctrl-c": signal.SIGINT, "shut down": signal.SIGTERM}


class StopAt:
    """A hook that behaves as a person who presses Ctrl-C at a step, as a machine that shuts down, or as a bug."""

    def __init__(self, step: int, how: str) -> None:
        self.step, self.how = step, how

    def at_step(self, step: int, model: nn.Module) -> None:  # noqa: ARG002
        if step == self.step and self.how in ASKED:
            os.kill(os.getpid(), ASKED[self.how])
        elif step == self.step:
            raise RuntimeError(self.how)

    def state(self) -> dict[str, int]:
        return {"asked": self.step}

    def restore(self, state: dict[str, int]) -> None:
        assert state == {"asked": 9}


@pytest.mark.parametrize(("how", "lost"), [("ctrl-c", 0), ("shut down", 0), ("the plug was pulled", 1)])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path, how, lost):
    whole = job()
    expected = train(whole, SETTINGS, tmp_path / "whole")
    said: list[Progress] = []
    with pytest.raises(KeyboardInterrupt if how in ASKED else RuntimeError):
        train(job(hooks=[StopAt(9, how)]), SETTINGS, tmp_path / "cut", on_progress=said.append)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if how in ASKED:
        assert said[-1].note == "Saved at step 9; the same command, without --anew, goes on."
    again, told = job(hooks=[StopAt(-1, "never")]), list[Progress]()
    curves = train(again, SETTINGS, tmp_path / "cut", on_progress=told.append)
    assert curves.resumed_at == 9 - lost
    assert told[0] == Progress(9 - lost, curves.steps, note=f"Going on from step {9 - lost} of {curves.steps}.")
    assert not any(one.note for one in told[1:])
    assert torch.equal(again.model.weight, whole.model.weight)
    assert curves.metrics == expected.metrics
    assert curves.best_step == expected.best_step


KILLED = """
import sys; sys.path[:0] = {paths}
from pathlib import Path
from test_loop import SETTINGS, job
from foveal.training.loop import train
train(job(), SETTINGS, Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_a_kill_between_a_checkpoints_files_costs_only_that_checkpoint(tmp_path):
    """Training killed half-way (a real SIGKILL): the half-written checkpoint is removed, the one before goes on."""
    whole = job()
    expected = train(whole, SETTINGS, tmp_path / "whole")
    code = KILLED.format(paths=[str(Path(__file__).parent), *sys.path])
    env = {**os.environ, "FOVEAL_FAULTS": "training.before-whole=kill@4", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "cut")], env=env, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.stdout == ""
    assert {path.name for path in (tmp_path / "cut").glob("checkpoint-*")} == {"checkpoint-6", "checkpoint-8"}
    again = job()
    curves = train(again, SETTINGS, tmp_path / "cut")
    assert curves.resumed_at == 6
    assert torch.equal(again.model.weight, whole.model.weight)
    assert curves.metrics == expected.metrics


def test_a_full_disk_is_told_and_costs_only_the_checkpoint_that_it_met(tmp_path):
    whole = job()
    expected = train(whole, SETTINGS, tmp_path / "whole")
    said = "A checkpoint could not be written into .*cut, whose disk has .* MB left. Make room, and give the same"
    with faults.injected({"training.before-whole": "full@4"}), pytest.raises(StorageFull, match=said):
        train(job(), SETTINGS, tmp_path / "cut")
    assert [path.name for path in (tmp_path / "cut").glob("checkpoint-*")] == ["checkpoint-6"]
    again = job()
    assert train(again, SETTINGS, tmp_path / "cut").resumed_at == 6
    assert torch.equal(again.model.weight, whole.model.weight)
    assert expected.resumed_at == 0


def _by_torch() -> None:
    torch.save({"weights": torch.zeros(100_000)}, "/dev/full")


def _by_safetensors() -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def _by_python() -> None:
    Path("/dev/full").write_text("x", encoding="utf-8")


@pytest.mark.parametrize("write", [_by_torch, _by_safetensors, _by_python])
def test_a_full_disk_is_known_whoever_writes(tmp_path, write):
    """torch and safetensors raise no OSError there."""
    with (
        pytest.raises(StorageFull, match=r"The model could not be .* Make room"),
        checkpoints.room_for(tmp_path, "The model"),
    ):
        write()


def test_what_is_no_full_disk_is_raised_as_it_is(tmp_path):
    with pytest.raises(RuntimeError, match=r"^shapes$"), checkpoints.room_for(tmp_path, "The model"):
        raise RuntimeError("shapes")
    with pytest.raises(FileNotFoundError), checkpoints.room_for(tmp_path, "The model"):
        (tmp_path / "gone").read_text()


def test_of_whole_checkpoints_the_last_one_counts_and_the_older_ones_go(tmp_path):
    """A kill may come when one is whole and the one before is not removed yet."""
    for step in (8, 10, 12):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in (8, 10):
        checkpoints.write(tmp_path / f"checkpoint-{step}" / checkpoints.WHOLE, {"step": step})
    assert checkpoints.latest(tmp_path) == (tmp_path / "checkpoint-10", {"step": 10})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-8"]
    for step in (3, 9):
        checkpoints.best_file(tmp_path, step).touch()
    checkpoints.seal(tmp_path / "checkpoint-10", {"best_step": 9})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best-9.safetensors", "checkpoint-10"]


def test_a_checkpoint_of_another_run_is_refused_and_says_what_differs(tmp_path):
    """A checkpoint of another encoder, other data, other settings."""
    with pytest.raises(RuntimeError):
        train(job(hooks=[StopAt(5, "stop")]), SETTINGS, tmp_path)
    other = replace(job(), identity={"data": "points", "base": "another encoder"})
    with pytest.raises(InputError, match="base: line there, another encoder now"):
        train(other, SETTINGS, tmp_path)
    with pytest.raises(InputError, match=r"settings: learning_rate 0.05 there, learning_rate 0.1 now\).* another name"):
        train(job(), replace(SETTINGS, learning_rate=0.1), tmp_path)
    curves = train(other, SETTINGS, tmp_path, anew=True)
    assert (curves.resumed_at, curves.steps) == (0, 18)


def test_weights_of_another_shape_are_refused(tmp_path):
    checkpoints.save_weights(nn.Linear(2, 3), tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="does not fit this model"):
        checkpoints.load_weights(nn.Linear(3, 3), tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="cannot be read"):
        checkpoints.load_weights(nn.Linear(3, 3), tmp_path / "gone.safetensors")


def test_a_file_of_no_object_is_damaged(tmp_path):
    (tmp_path / "told.json").write_text("[1]")
    assert checkpoints.read(tmp_path / "told.json") is None


def test_checkpoints_of_nobody_are_refused(tmp_path):
    (tmp_path / "checkpoint-3").mkdir()
    with pytest.raises(InputError, match=r"no run.json"):
        train(job(), SETTINGS, tmp_path)


def test_training_does_not_notice_an_evaluation(tmp_path):
    def drawing(model: nn.Module) -> dict[str, float]:
        torch.rand(3)
        model.train()
        return closeness(model)

    plain, noisy = job(), replace(job(), evaluate=drawing)
    assert train(plain, SETTINGS, tmp_path / "a").losses == train(noisy, SETTINGS, tmp_path / "b").losses
    assert torch.equal(plain.model.weight, noisy.model.weight)


def test_it_stops_early_and_leaves_the_best_weights(tmp_path):
    values = iter([0.0, 0.5, 0.9, 0.8, 0.9, 0.3, 1.0])
    weights = {}

    def scripted(model: nn.Module) -> dict[str, float]:
        value = next(values)
        weights.setdefault(value, model.weight.detach().clone())
        return {"closeness": value}

    one = replace(job(), evaluate=scripted)
    curves = train(one, replace(SETTINGS, patience=3), tmp_path)
    assert [metrics["closeness"] for _, metrics in curves.metrics] == [0.0, 0.5, 0.9, 0.8, 0.9, 0.3]
    assert (curves.ended, curves.best_step, curves.steps) == ("early", 4, 10)
    assert torch.equal(one.model.weight, weights[0.9])


@pytest.mark.parametrize("patience", [3, None])
def test_a_run_killed_after_its_last_checkpoint_has_nothing_left_to_train(tmp_path, patience):
    """It had stopped early, or taken all its steps, and could not say so any more."""
    values = iter([0.0, 0.5, 0.9, 0.8, 0.7, 0.6, *[0.1] * 20])
    weights = {}

    def scripted(model: nn.Module) -> dict[str, float]:
        value = next(values)
        weights[value] = model.weight.detach().clone()
        return {"closeness": value}

    settings = replace(SETTINGS, steps=17, patience=patience)
    (tmp_path / "done.json").mkdir()  # so that it cannot be written
    with pytest.raises(OSError, match=r"done\.json"):
        train(replace(job(), evaluate=scripted), settings, tmp_path)
    (tmp_path / "done.json").rmdir()
    again = replace(job(), evaluate=lambda _: pytest.fail("it was measured again"))
    curves = train(again, settings, tmp_path)
    ended = (("early", 10), ("finished", 17))[patience is None]
    assert (curves.ended, curves.steps, curves.best_step) == (*ended, 4)
    assert curves.resumed_at == curves.steps
    assert torch.equal(again.model.weight, weights[0.9])


def test_an_untrained_model_that_is_best_is_what_is_left(tmp_path):
    one = replace(job(), evaluate=lambda model: {"closeness": -float(model.weight.detach().abs().sum())})
    curves = train(one, SETTINGS, tmp_path)
    assert curves.best_step == 0
    assert torch.equal(one.model.weight, torch.zeros(3))


def test_a_run_that_is_done_is_not_done_again(tmp_path):
    one, again = job(), job()
    first = train(one, SETTINGS, tmp_path)
    second = train(again, SETTINGS, tmp_path, on_progress=lambda _: pytest.fail("it trained"))
    assert second == first
    assert torch.equal(one.model.weight, again.model.weight)
    next(tmp_path.glob("best-*")).unlink()
    with pytest.raises(InputError, match="is gone"):
        train(job(), SETTINGS, tmp_path)


def test_without_evaluation_the_last_weights_stay(tmp_path):
    one, again = (replace(job(), evaluate=None) for _ in range(2))
    curves = train(one, SETTINGS, tmp_path)
    assert curves.metrics == ()
    train(again, SETTINGS, tmp_path)
    assert torch.equal(one.model.weight, again.model.weight)
    assert one.model.weight.abs().sum() > 0


def test_a_loss_of_ones_own_and_a_batch_plan(tmp_path):
    seen = []

    def loss(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        seen.append(len(batch["x"]))
        return model(**batch)["loss"]

    train(job(loss=loss, plan=lambda epoch: [[0, 1, 2], [epoch, 5]]), replace(SETTINGS, epochs=2), tmp_path)
    assert seen == [3, 2, 3, 2]


def test_a_loss_that_is_no_number_ends_the_training(tmp_path):
    def explode(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return model(**batch)["loss"] * torch.tensor(float("nan"))

    with pytest.raises(TrainingFailed, match="learning rate"):
        train(job(loss=explode), SETTINGS, tmp_path)


def test_weights_that_are_no_numbers_are_told_before_they_are_measured(tmp_path):
    """What measures would speak of its own trouble with them, and the loss of that step is not told yet."""

    def strict(model):
        assert model.weight.isfinite().all()
        return closeness(model)

    lost = replace(job(loss=lambda model, batch: model(**batch)["loss"] * float("nan")), evaluate=strict)
    with pytest.raises(TrainingFailed, match=r"no finite number after step 1\. Lower the learning rate"):
        train(lost, replace(SETTINGS, evaluate_every=1), tmp_path)


def test_several_gpus_leave_the_model_as_a_loss_knows_it(tmp_path, monkeypatch):
    """Where there are two, the trainer would wrap the model, and its parts would have other names."""
    import transformers

    two = property(lambda self: self.__dict__.get("_n_gpu") or 2)
    monkeypatch.setattr(transformers.TrainingArguments, "n_gpu", two)
    of_parts = job(loss=lambda model, batch: (batch["x"] @ model.weight + model.bias - batch["y"]).square().mean())
    assert train(of_parts, SETTINGS, tmp_path).ended == "finished"


def test_a_losses_own_weights_are_trained_and_resumed(tmp_path):
    """What a loss holds (a memory bank, a temperature) is in the checkpoint."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            self.calls += 1
            return model(**batch)["loss"]

    with pytest.raises(RuntimeError):
        train(job(loss=Scaled(), hooks=[StopAt(9, "stop")]), SETTINGS, tmp_path)
    loss = Scaled()
    train(job(loss=loss, hooks=[StopAt(-1, "never")]), SETTINGS, tmp_path)
    assert float(loss.calls) == 18


@pytest.mark.parametrize("loss", [None, lambda model, batch: model(**batch)["loss"]])
def test_bfloat16_trains_and_the_models_forward_runs_in_it(tmp_path, loss):
    class Watched(Line):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
            mixed.append(torch.is_autocast_enabled("cpu"))
            return super().forward(x, y)

    mixed: list[bool] = []
    curves = train(job(Watched(), loss=loss), replace(SETTINGS, bfloat16=True), tmp_path)
    assert curves.losses[-1][1] < curves.losses[0][1]
    assert mixed
    assert all(mixed)


def noted(forward):
    """A decorator, such as transformers puts around its forwards."""

    @wraps(forward)
    def around(self, *args, **named):
        self.runs.append((self.training, torch.is_autocast_enabled("cpu")))
        return forward(self, *args, **named)

    return around


class Noted(Line):
    def __init__(self) -> None:
        super().__init__()
        self.runs: list[tuple[bool, bool]] = []

    @noted
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        return super().forward(x, y)


def test_a_model_trained_in_bfloat16_is_measured_and_left_as_it_computes_by_itself(tmp_path):
    """Before the first step, between steps and afterwards: full precision; what the model's class wraps stays."""
    row = points()[0]

    def measured(model: nn.Module) -> dict[str, float]:
        return {"closeness": -float(model(**row)["loss"].detach())}

    one = replace(job(Noted()), evaluate=measured)
    curves = train(one, replace(SETTINGS, bfloat16=True), tmp_path)
    assert set(one.model.runs) == {(True, True), (False, False)}
    one.model.runs.clear()
    assert measured(one.model)["closeness"] == dict(curves.metrics)[curves.best_step]["closeness"]
    assert one.model.runs == [(False, False)]
    assert "forward" not in one.model.__dict__


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"batch": 0}, "batch = 0"), ({"learning_rate": -1.0}, "learning_rate"), ({"warm_up": 1.0}, "warm_up"),
     ({"patience": 0}, "patience"), ({"steps": 0}, "steps"), ({"epochs": float("inf")}, "epochs = inf"),
     ({"weight_decay": -0.1}, "weight_decay = -0.1"), ({"seed": -1}, "seed = -1")],
)  # fmt: skip
def test_settings_are_checked(changes, said):
    with pytest.raises(InputError, match=said):
        LoopSettings(**changes)


def test_no_rows_are_an_error(tmp_path):
    with pytest.raises(InputError, match="no rows"):
        train(replace(job(), rows=[]), SETTINGS, tmp_path)


def test_as_many_batches_as_in_the_first_epoch():
    plans = {0: [[1, 2], [3]], 1: [[1], [2, 3], [4, 5, 6]], 2: [[1, 2, 3, 4]]}
    batches = PlannedBatches(lambda epoch: plans[epoch], 4)
    given = []
    for epoch in plans:
        batches.set_epoch(epoch)
        given.append(list(batches))
    assert given == [[[1, 2], [3]], [[2, 3], [4, 5, 6]], [[1, 2], [3, 4]]]
    assert fitted([[1]], 3) == [[1]]


def test_a_run_is_known_by_its_parts_and_settings(tmp_path):
    known = identity({"base": "line"}, SETTINGS)
    assert known["base"] == "line"
    assert "learning_rate 0.05" in known["settings"]
    checkpoints.claim(tmp_path / "run", known)
    assert json.loads((tmp_path / "run" / "run.json").read_text()) == known
