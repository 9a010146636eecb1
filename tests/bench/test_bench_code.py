"""What was measured by other code is measured anew: hashes of modules and of models."""

import sys
from functools import partial

import pytest
from torch import nn, tensor

from foveal.bench.code import code_digest, digest_of, native_digest
from foveal.bench.settings import BenchSettings
from foveal.bench.trained_arms import trained
from foveal.nn.lama import LamaSettings, LowRankAttention
from foveal.nn.language_training import next_bytes
from foveal.training.loop import LoopSettings


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of two modules of which one imports the other, and a way to write them."""
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "madecode"
    folder.mkdir()
    (folder / "__init__.py").touch()

    def write(**modules):
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(text, encoding="utf-8")
        code_digest.cache_clear()

    yield write
    sys.modules.pop("madecode", None)
    code_digest.cache_clear()


FIRST = 'A = 1\n\n\ndef told():\n    """Tell."""\n    from madecode.other import B\n    return A + B\n'
RETOLD = '''"""A module."""
A = 1  # one
"""The first."""
def told():
    from madecode.other import B
    return (A + B)
'''


def test_code_is_known_by_what_it_does(package):
    package(first=FIRST, other="B = 2\n")
    before = code_digest("madecode.first")
    package(first=RETOLD)
    assert code_digest("madecode.first") == before
    package(first=FIRST.replace("A + B", "A - B"))
    assert code_digest("madecode.first") != before


def test_a_module_that_is_imported_from_a_package_within_the_package_counts(package, tmp_path):
    inner = tmp_path / "madecode" / "inner"
    inner.mkdir()
    (inner / "__init__.py").touch()
    package(first="from madecode.inner import deep\nfrom madecode.other import B\nA = deep.C + B\n", other="B = 2\n")
    (inner / "deep.py").write_text("C = 3\n")
    before = code_digest("madecode.first", within="madecode")
    (inner / "deep.py").write_text("C = 4\n")
    code_digest.cache_clear()
    assert code_digest("madecode.first", within="madecode") != before


def test_compiled_sources_are_known_by_what_they_hold():
    one, other = "attention/native/roar_graph.cpp", "attention/native/grouped_softmax.cpp"
    assert native_digest(one) == native_digest(one) != native_digest(other)
    assert native_digest(one, other) not in (native_digest(one), native_digest(other, one))
    with pytest.raises(FileNotFoundError):
        native_digest("attention/native/none.cpp")


def test_what_it_imports_of_a_package_counts_if_asked_for(package):
    package(first=FIRST, other="B = 2\n")
    alone, whole = code_digest("madecode.first"), code_digest("madecode.first", within="madecode")
    package(other="B = 3\n")
    assert code_digest("madecode.first") == alone
    assert code_digest("madecode.first", within="madecode") != whole
    package(first=FIRST.replace("madecode.other import B", "madecode import other; B = other.B"))
    through = code_digest("madecode.first", within="madecode")
    package(other="B = 4\n")
    assert code_digest("madecode.first", within="madecode") != through


def test_modules_that_import_each_other_end(package):
    package(first="from madecode.other import B\n", other="from madecode.first import A\nB = 1\n")
    assert code_digest("madecode.first", within="madecode") == code_digest("madecode.first", within="madecode")


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(ModuleNotFoundError, match=r"foveal\.nowhere"):
        code_digest("foveal.nowhere")


def test_a_model_is_known_by_the_modules_of_its_parts():
    plain = nn.Sequential(nn.Linear(4, 4))
    ours = nn.Sequential(nn.Linear(4, 4), LowRankAttention(LamaSettings(dim=4)))
    assert digest_of(plain) == digest_of(nn.Linear(2, 2)) != digest_of(ours)
    assert digest_of(plain, next_bytes) == digest_of(plain, partial(next_bytes)) != digest_of(plain)


def summed(model, batch):
    return model(batch["ids"]).sum()


def test_an_arm_is_back_on_the_processor(tmp_path, monkeypatch):
    """Where there is a GPU a training leaves its model there, and what is measured reads rows that are not."""

    class Anywhere(nn.Linear):
        place = "processor"

        def cpu(self):
            self.place = "processor"
            return super().cpu()

    def on_a_gpu(job, *_):
        job.model.place = "GPU"

    monkeypatch.setattr("foveal.bench.trained_arms.train", on_a_gpu)
    model = Anywhere(2, 1)
    trained(BenchSettings(cache=tmp_path), "made", "arm", model, [], summed, lambda _: [[0]], LoopSettings(), {})
    assert model.place == "processor"
    assert not model.training


def test_an_arm_is_trained_anew_by_other_code(tmp_path, monkeypatch):
    """Its folder is named by the code, too."""
    loop = LoopSettings(steps=1, batch=1, evaluate_every=1, checkpoint_every=1)
    settings, rows = BenchSettings(cache=tmp_path), [tensor([1.0, 2.0])]

    def run():
        trained(settings, "made", "arm", nn.Linear(2, 1), rows, summed, lambda _: [[0]], loop, {})
        return {place.name for place in (tmp_path / "made").iterdir() if place.is_dir()}

    assert run() == run()
    monkeypatch.setattr("foveal.bench.trained_arms.digest_of", lambda *_: "other code")
    assert len(run()) == 2
