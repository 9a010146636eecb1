"""What memory there is, as the kernel and control groups say; a model that does not fit is refused, a copy left out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from tiny import tiny
from torch import nn

from foveal.errors import ModelUnavailable
from foveal.models import language, lean
from foveal.models.language import load_language_model
from foveal.models.lean import Product
from foveal.models.room import left

MEMINFO = "MemTotal:       16000 kB\nMemAvailable:    9000 kB\nSwapTotal:       500 kB\nSwapFree:        100 kB\n"
UNIT = "sys/fs/cgroup/system.slice/foveal.service"
DOCKER = "sys/fs/cgroup/memory/docker/abc"


def system(root: Path, files: Mapping[str, str]) -> Path:
    for name, said in {"proc/meminfo": MEMINFO, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(said, encoding="ascii")
    return root


@pytest.mark.parametrize(
    ("files", "kb"),
    [
        pytest.param({}, 9000 + 100, id="the machine and its swap"),
        pytest.param(
            {"proc/meminfo": f"\nVmallocTotal:\nHardware: none\n{MEMINFO}"}, 9000 + 100, id="lines that hold no number"
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/system.slice/foveal.service\n",
                f"{UNIT}/memory.max": "4096000\n",
                f"{UNIT}/memory.current": "3072000\n",
                f"{UNIT}/memory.stat": "anon 2048000\ninactive_file 204800\nactive_file 102400\n",
            },
            (4096000 - 3072000 + 204800 + 102400) // 1024 + 100,
            id="a unit with MemoryMax; pages of files give way",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/system.slice/foveal.service\n",
                f"{UNIT}/memory.max": "max\n",
                f"{UNIT}/memory.current": "3072000\n",
                "sys/fs/cgroup/system.slice/memory.max": "2048000",
                "sys/fs/cgroup/system.slice/memory.current": "3000000",
            },
            0 + 100,
            id="a slice above it that is over its limit",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "8:pids:/docker/abc\n4:memory:/docker/abc\n0::/\n",
                f"{DOCKER}/memory.limit_in_bytes": "4096000\n",
                f"{DOCKER}/memory.usage_in_bytes": "2048000\n",
            },
            2000 + 100,
            id="version 1",
        ),
        pytest.param({"proc/self/cgroup": "4:memory:/gone\nnonsense\n"}, 9000 + 100, id="groups that are not seen"),
    ],
)
def test_what_is_left_is_the_least_that_machine_and_groups_allow(tmp_path: Path, files: dict[str, str], kb: int):
    assert left(system(tmp_path, files)) == 1024 * kb


def test_a_system_that_does_not_say_is_believed_to_have_room(tmp_path: Path):
    assert left(tmp_path) is None
    assert left(system(tmp_path, {"proc/meminfo": "MemTotal: 5 kB\n"})) is None


def test_a_model_that_does_not_fit_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "model"
    tiny("qwen", folder).model.to(torch.bfloat16).save_pretrained(folder)
    size = 2 * (folder / "model.safetensors").stat().st_size
    monkeypatch.setattr(language, "left", lambda: size - 1)
    with pytest.raises(ModelUnavailable, match=r"model takes .* GB of memory here, and .* are free. Let a server's"):
        load_language_model(str(folder), dtype="float32", cache=tmp_path / "cache")
    assert load_language_model(str(folder), dtype="bfloat16", cache=tmp_path / "cache")  # mapped, as it lies there
    monkeypatch.setattr(language, "left", lambda: size)
    assert load_language_model(str(folder), dtype="float32", cache=tmp_path / "cache").dtype == torch.float32


def test_without_room_for_a_copy_the_products_are_those_of_the_layers(monkeypatch: pytest.MonkeyPatch):
    layers = nn.Linear(24, 16), nn.Linear(24, 8)
    x = torch.randn(5, 24, generator=torch.Generator().manual_seed(3))
    packed = Product(*layers)
    asked: list[int] = []
    monkeypatch.setattr(lean, "is_room_for", lambda size: bool(asked.append(size)))
    plain = Product(*layers)
    assert asked == [2 * 4 * 24 * (16 + 8)]
    assert not plain.packed
    assert plain._half is None
    with torch.inference_mode():
        torch.testing.assert_close(plain(x), packed(x))
        torch.testing.assert_close(plain(x), torch.cat([one(x) for one in layers], -1))
