"""Offline wheels: joined in order, trusted by hash only, there whole or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from foveal.errors import ModelUnavailable, UnknownName
from foveal.models import OFFLINE, OfflineModel, installed, load_encoder
from foveal.models.hub import require_known
from foveal.models.offline import unpacked, unpacked_to


def _install(site: Path, distribution: str, files: dict[str, bytes]) -> None:
    """Lay files out as pip does for a wheel."""
    about = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    for name, content in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_bytes(content)
    (about / "RECORD").write_text("".join(f"{name},,\n" for name in files))


def _zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _model(parts: list[tuple[str, str]], content: bytes) -> OfflineModel:
    sha256 = hashlib.sha256(content).hexdigest()
    return OfflineModel(
        name="tiny", hub_id="x/tiny", kind="encoder", version="1.0", parts=tuple(parts), sha256=sha256, licence="MIT"
    )


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path / "site")
    return tmp_path / "site"


def test_folders_of_wheels_keep_their_names(tmp_path):
    """Profiles and libraries know the models by what is in them; a new reader of GGUF files makes the same of these."""
    assert [unpacked_to(model, tmp_path).relative_to(tmp_path).as_posix() for model in OFFLINE.values()] == [
        "models/minilm-0872f5d7d0e8",
        "models/qwen2.5-coder-0.5b-1d9614638d18-bf16",
        "models/gemma3-270m-a5fd3b62230a-bf16",
    ]


def test_parts_are_joined_in_their_order(site, tmp_path):
    _install(site, "tiny-part2", {"data/part02.bin": b"world"})
    _install(site, "tiny-part1", {"data/part01.bin": b"hello "})
    model = _model([("tiny-part1", "data/part01.bin"), ("tiny-part2", "data/part02.bin")], b"hello world")
    assert installed(model)
    assert (unpacked(model, tmp_path) / "model.gguf").read_bytes() == b"hello world"


def test_an_archive_becomes_a_folder_once(site, tmp_path):
    content = _zipped({"config.json": b"{}", "1_Pooling/config.json": b"{}"})
    _install(site, "tiny", {"tiny/model.zip": content})
    model = _model([("tiny", "tiny/model.zip")], content)
    folder = unpacked(model, tmp_path)
    assert sorted(path.name for path in folder.rglob("*.json")) == ["config.json", "config.json"]
    (site / "tiny/model.zip").unlink()
    assert unpacked(model, tmp_path) == folder


def test_other_bytes_than_the_trusted_ones_are_refused_and_leave_nothing(site, tmp_path):
    _install(site, "tiny", {"tiny/model.bin": b"tampered"})
    model = _model([("tiny", "tiny/model.bin")], b"original")
    with pytest.raises(ModelUnavailable, match="other bytes than expected"):
        unpacked(model, tmp_path)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_missing_wheel_is_named_with_its_install_command(tmp_path):
    model = _model([("tiny-absent", "model.bin")], b"")
    assert not installed(model)
    with pytest.raises(ModelUnavailable, match=r"pip install tiny-absent==1\.0"):
        unpacked(model, tmp_path)


def test_a_kill_before_the_rename_leaves_no_half_model(site, tmp_path):
    content = _zipped({"config.json": b"{}"})
    _install(site, "tiny", {"tiny/model.zip": content})
    sha256 = hashlib.sha256(content).hexdigest()
    code = f"""
from pathlib import Path
from foveal.models.offline import OfflineModel, unpacked
unpacked(OfflineModel(name="tiny", hub_id="x/tiny", kind="encoder", version="1.0",
    parts=(("tiny", "tiny/model.zip"),), sha256="{sha256}", licence="MIT"), Path({str(tmp_path)!r}))
"""
    env = {**os.environ, "PYTHONPATH": str(site), "FOVEAL_FAULTS": "models.before-rename=kill"}
    assert subprocess.run([sys.executable, "-c", code], env=env).returncode == -signal.SIGKILL
    model = _model([("tiny", "tiny/model.zip")], content)
    assert not (tmp_path / "models" / f"tiny-{sha256[:12]}").exists()
    assert (unpacked(model, tmp_path) / "config.json").is_file()


def test_names_that_are_no_encoder_are_told_apart():
    with pytest.raises(UnknownName, match="No encoder is called 'minilmm'"):
        load_encoder("minilmm")
    with pytest.raises(UnknownName, match="is a language model, no encoder"):
        load_encoder("gemma3-270m")


def test_what_was_trained_here_is_named_where_a_name_is_none(tmp_path):
    """And a name whose training kept nothing is told as such."""
    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "models" / "mine" / "modules.json").touch()
    (tmp_path / "runs" / "train" / "worse").mkdir(parents=True)
    for name, said in (
        ("mien", r"'mien'\. There"),
        ("worse", r"'worse' \(what was trained here so is no better, or .*"),
    ):
        with pytest.raises(UnknownName, match=f"No encoder is called {said}.*; trained here: mine; or give a folder"):
            require_known(name, kind="encoder", home=tmp_path)
    with pytest.raises(UnknownName, match="gemma3-270m; or give a folder"):
        require_known("mien", kind="language model", home=tmp_path)


def test_every_offline_model_states_its_licence_and_hash():
    for model in OFFLINE.values():
        assert len(model.sha256) == 64
        assert model.licence
        assert model.requirement.startswith(model.parts[0][0])
