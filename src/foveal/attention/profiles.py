"""Profiles: which heads of a model find things, and how deep it must be run to see them.

A profile comes from `foveal calibrate MODEL` (see calibration.py). Those of the offline models are shipped beside this
module; a person's own lie in HOME/models/profiles and win. A profile is found by the fingerprint of the model's files,
else by its architecture: the heads of a fine-tuned model are those of its base.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.attention.decoders import told
from foveal.attention.remarks import warn_once
from foveal.errors import InputError
from foveal.evaluation.files import whole_file

if TYPE_CHECKING:
    from foveal.models.language import LanguageModel

log = logging.getLogger("foveal.attention")

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The heads to watch; empty `measured` where nothing was measured (the published method's last layer)."""

    model: str  # name or hub id
    fingerprint: str  # of the model's files
    architecture: str  # see `architecture_of`
    heads: tuple[tuple[int, int], ...]  # (layer, head), strongest first
    measured: dict[str, float] = field(default_factory=dict)  # what the calibration found, by name
    calibrated: bool = True

    def __post_init__(self) -> None:
        """InputError: no heads."""
        if not self.heads:
            raise InputError(f"The profile of {self.model} names no heads. Make it anew: foveal calibrate {self.model}")

    @property
    def by_layer(self) -> dict[int, list[int]]:
        """Layer -> its heads, shallow layers first."""
        layers: dict[int, list[int]] = {}
        for layer, head in sorted(self.heads):
            layers.setdefault(layer, []).append(head)
        return layers

    @property
    def depth(self) -> int:
        """Layers that must be run."""
        return 1 + max(layer for layer, _ in self.heads)


def architecture_of(config: Any) -> str:
    """What a model's heads are counted in, such as "qwen2-24x14-896"."""
    config = config.get_text_config()
    layers, heads = told(config, "num_hidden_layers"), told(config, "num_attention_heads")
    return f"{config.model_type}-{layers}x{heads}-{config.hidden_size}"


def whole_layers(config: Any) -> list[int]:
    """The layers that see the whole text, not a sliding window of it, nor images."""
    config = config.get_text_config()
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    images = getattr(config, "cross_attention_layers", None) or ()  # which Mllama's kinds leave out
    return [layer for layer, kind in enumerate(kinds) if kind == "full_attention" and layer not in images]


def require_whole_layers(model: LanguageModel, lost: str) -> list[int]:
    """As `whole_layers`. InputError: there are none; `lost` is what that means."""
    layers = whole_layers(model.model.config)
    if not layers:
        raise InputError(f"Every layer of {model.name} slides over the text: {lost}.")
    return layers


def kv_heads(config: Any) -> int:
    """The key-value heads of a layer: as many as query heads where the configuration names none, as GPT-2's."""
    return told(config.get_text_config(), "num_key_value_heads", "num_attention_heads")


def profile_of(model: LanguageModel, home: Path | None = None) -> Profile:
    """The profile of `model`: a person's own in `home`, a shipped one, else all heads of the last full layer."""
    found = [*_own(home), *_shipped()]
    architecture = architecture_of(model.model.config)
    for profile in found:
        if profile.fingerprint == model.fingerprint:
            return profile
    alike = next((profile for profile in found if profile.architecture == architecture), None)
    return alike or last_layer(model)


def last_layer(model: LanguageModel) -> Profile:
    """All heads of the last layer that sees the whole text: the published method's choice."""
    config = model.model.config.get_text_config()
    whole = whole_layers(config)
    if not whole:
        raise InputError(
            f"Every layer of {model.name} slides over the text; none sees a window whole, so none can be read by. "
            "Choose another model."
        )
    layer = whole[-1]
    return Profile(
        model=model.name,
        fingerprint=model.fingerprint,
        architecture=architecture_of(config),
        heads=tuple((layer, head) for head in range(told(config, "num_attention_heads"))),
        calibrated=False,
    )


def save(profile: Profile, home: Path) -> Path:
    """Write `profile` where `profile_of` finds it."""
    path = _folder(home) / f"{profile.architecture}-{profile.fingerprint[:12]}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        partial.write_text(json.dumps({"version": VERSION, **asdict(profile)}, indent=1) + "\n", encoding="utf-8")
    return path


def read(text: str, name: str) -> Profile:
    """The profile in the JSON `text`. InputError: it is none, or a newer Foveal wrote it."""
    try:
        fields = json.loads(text)
        if fields.pop("version") != VERSION:
            raise InputError(f"{name} was written by another version of Foveal. Make it anew: foveal calibrate MODEL")
        return Profile(**{**fields, "heads": tuple((int(layer), int(head)) for layer, head in fields["heads"])})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{name} is no profile ({error}). Delete it, or make it anew: foveal calibrate MODEL"
        ) from error


def _folder(home: Path) -> Path:
    return home / "models" / "profiles"


def _own(home: Path | None) -> list[Profile]:
    """A person's own profiles, the newest first; one that cannot be read is left out, as others' models need it not."""
    found = []
    for path in _folder(home).glob("*.json") if home else ():
        try:
            found.append((-path.stat().st_mtime, str(path), read(path.read_text(encoding="utf-8"), str(path))))
        except (OSError, UnicodeDecodeError, InputError) as error:
            warn_once(log, "The profile %s is left out: %s", str(path), str(error))
    return [profile for *_, profile in sorted(found, key=lambda one: one[:2])]


def _shipped() -> list[Profile]:
    folder = resources.files("foveal.attention") / "shipped"
    files = [file for file in folder.iterdir() if file.name.endswith(".json")] if folder.is_dir() else []
    return [read(file.read_text(encoding="utf-8"), file.name) for file in sorted(files, key=lambda file: file.name)]
