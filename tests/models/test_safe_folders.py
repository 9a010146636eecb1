"""No pickle and no foreign code is ever run: what the source calls, and what hostile folders and files come to."""

from __future__ import annotations

import ast
import json
import os
import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models.tiny_gguf import write_gguf

import foveal
from foveal.errors import FovealError, ModelUnavailable
from foveal.models import load_encoder, load_language_model
from foveal.models.gguf import convert
from foveal.models.hub import folder_of
from foveal.ranking.cross_encoder import CrossEncoderRanker
from foveal.settings import Settings

SOURCE = Path(foveal.__file__).parent
FORBIDDEN_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {"torch.load", "pandas.read_pickle", "pd.read_pickle", "yaml.load", "numpy.loads"}
CODE_OF_ITS_OWN = {"research/experiment_box.py"}
"""A box of its own, without network and files, for what a report's experiments compute."""

WITHIN_A_CLUSTER = {"cli/research.py", "cli/research_setup.py", "scale/adding.py", "scale/reading.py"}
"""What tasks of one Ray cluster hand each other, which Ray itself pickles; nothing of it is read from a file."""


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield dotted(node.func), node


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "()"


def keywords(call: ast.Call) -> dict[str, object]:
    """Those that are written out; None for what is computed."""
    return {one.arg: getattr(one.value, "value", None) for one in call.keywords if one.arg}


FILES = sorted(SOURCE.rglob("*.py"))


RUNS = re.compile(
    "|".join(map(re.escape, sorted(FORBIDDEN_IMPORTS | FORBIDDEN_CALLS)))
    + r"|allow_pickle|trust_remote_code|(?<![\w.])(exec|eval)\("
)
"""What a file holds that imports or calls any of what is forbidden: the others need not be parsed."""

LOADS = re.compile(r"from_pretrained|SentenceTransformer|CrossEncoder|SparseEncoder")
"""What a file holds that loads a model."""


@cache
def sources() -> dict[str, str]:
    """The package's source, file by file."""
    return {path.relative_to(SOURCE).as_posix(): path.read_text(encoding="utf-8") for path in FILES}


def parsed(holding: re.Pattern[str]) -> dict[str, ast.Module]:
    """The files that hold it, parsed."""
    return {name: ast.parse(text) for name, text in sources().items() if holding.search(text)}


def test_the_source_was_found() -> None:
    assert len(FILES) > 500


def test_nothing_in_the_source_unpickles_or_runs_a_models_code() -> None:
    wrong = []
    for name, tree in parsed(RUNS).items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [one.name for one in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                forbidden = FORBIDDEN_IMPORTS - ({"pickle"} if name in WITHIN_A_CLUSTER else set())
                wrong += [f"{name} imports {one}" for one in modules if one.split(".")[0] in forbidden]
        for called, call in calls(tree):
            given = keywords(call)
            if called == "torch.load" and given.get("weights_only") is True:  # states of our own training
                continue
            if (
                called in FORBIDDEN_CALLS
                or given.get("allow_pickle", False) is not False
                or "trust_remote_code" in given
            ):
                wrong.append(f"{name}: {ast.unparse(call)[:100]}")
            if called in ("exec", "eval") and name not in CODE_OF_ITS_OWN:
                wrong.append(f"{name}: {ast.unparse(call)[:100]}")
    assert wrong == []


def test_every_model_is_loaded_from_safetensors_only() -> None:
    wrong, seen = [], 0
    for name, tree in parsed(LOADS).items():
        for called, call in calls(tree):
            owner, _, method = called.rpartition(".")
            of_weights = method == "from_pretrained" and not owner.endswith(("Tokenizer", "TokenizerFast", "Config"))
            by_sentences = method in ("SentenceTransformer", "CrossEncoder", "SparseEncoder") and owner
            if owner == "kind" or owner.endswith(("LandmarkModel", "TextClassifier", "variant_kind")):
                continue  # ours, which ask themselves
            if owner in ("nn.Embedding", "nn.EmbeddingBag"):  # of a tensor that is there already
                continue
            if of_weights or by_sentences:
                seen += 1
                if "use_safetensors" not in ast.unparse(call):
                    wrong.append(f"{name}: {ast.unparse(call)[:120]}")
    assert seen >= 10
    assert wrong == []


@pytest.mark.parametrize("kind", ["of-my-own", "vit"])
def test_nobody_is_asked_whether_to_run_a_models_code(kind, tmp_path, monkeypatch):
    """transformers would ask on the terminal, and a "y" runs it."""
    ran = tmp_path / "ran"
    folder = tmp_path / "model"
    folder.mkdir()
    auto = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    (folder / "config.json").write_text(json.dumps({"model_type": kind, "auto_map": auto}))
    (folder / "own.py").write_text(f"from pathlib import Path\nPath({str(ran)!r}).touch()\n")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(ModelUnavailable, match=r"code of its own|custom code"):
        load_language_model(str(folder))
    assert not ran.exists()


class Trap:
    """What runs when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def trapped(tmp_path: Path) -> tuple[Path, Path]:
    """A model folder whose weights are a trap, and what the trap would leave."""
    minilm, mark = folder_of("minilm", Settings.load().cache, kind="encoder"), tmp_path / "it-ran"
    folder = tmp_path / "model"
    shutil.copytree(minilm, folder)
    for weights in folder.rglob("*.safetensors"):
        weights.unlink()
    for name in ("pytorch_model.bin", "adapter_model.bin", "optimizer.pt"):
        (folder / name).write_bytes(pickle.dumps(Trap(mark)))
    return folder, mark


def test_the_trap_is_one(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "it-ran")))
    assert (tmp_path / "it-ran").is_dir()


@pytest.mark.parametrize("load", [load_encoder, load_language_model, CrossEncoderRanker.load])
def test_a_pickle_in_the_place_of_weights_is_not_read(
    trapped: tuple[Path, Path], load: Callable[[str], object]
) -> None:
    folder, mark = trapped
    with pytest.raises(ModelUnavailable, match="a pickle"):
        load(str(folder))
    assert not mark.exists()


def test_a_pickle_in_a_folder_of_a_module_is_not_read(trapped: tuple[Path, Path]) -> None:
    folder, mark = trapped
    for name in ("pytorch_model.bin", "adapter_model.bin", "optimizer.pt"):
        (folder / name).unlink()
    shutil.copy(folder_of("minilm", Settings.load().cache, kind="encoder") / "model.safetensors", folder)
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(mark)))
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    modules.append({"idx": 9, "name": "9", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    with pytest.raises(ModelUnavailable, match="a pickle"):
        load_encoder(str(folder))
    assert not mark.exists()


@pytest.mark.parametrize("modules", ['[{"type": "os.system", "path": ""}]', "[1]", "{", '{"a": 1}', '[{"path": "x"}]'])
def test_a_folder_that_names_foreign_code_is_refused(tmp_path: Path, modules: str) -> None:
    (tmp_path / "modules.json").write_text(modules, encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelUnavailable):
        load_encoder(str(tmp_path))


def changed(content: bytes, edits: list[tuple[int, bytes]], cut: int) -> bytes:
    found = bytearray(content)
    for place, new in edits:
        at = place % max(1, len(found))
        found[at : at + len(new)] = new
    return bytes(found[: max(0, len(found) - cut)])


EDITS = st.lists(st.tuples(st.integers(0, 1 << 20), st.binary(min_size=1, max_size=8)), max_size=6)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS, cut=st.integers(0, 400))
def test_a_damaged_gguf_is_refused_in_words_or_read(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, bytes]], cut: int
) -> None:
    place = tmp_path_factory.mktemp("gguf")
    write_gguf(place / "whole.gguf", "qwen2", generator=np.random.default_rng(0))
    (place / "model.gguf").write_bytes(changed((place / "whole.gguf").read_bytes(), edits, cut))
    try:
        convert(place / "model.gguf", place)
    except FovealError:
        pass
    finally:
        shutil.rmtree(place)
