"""What a benchmark is given: where its data lies, how much to run, a cache for what is slow to make again, a seed."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.errors import InputError
from foveal.evaluation.files import present, text_in, whole_file
from foveal.settings import Settings, expanded
from foveal.types import Encoder

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("foveal.bench")

COMPILED = tuple(f"models/native/{one}.cpp" for one in ("byte_products", "half_products"))
"""Sources of an encoder's products that are not Python."""


def default_data() -> Path:
    """The folder named by FOVEAL_DATA, else `../shared/data`."""
    return expanded(os.environ.get("FOVEAL_DATA") or "../shared/data")


def default_cache() -> Path:
    """`bench/` in the cache of this user."""
    return Settings.load().cache / "bench"


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """The settings of one run; they decide its rows but for the machine's speed."""

    data: Path = field(default_factory=default_data)  # one folder per data set
    quick: bool = False  # fewer samples, wider margins, the same bars: minutes, not an hour
    cache: Path = field(default_factory=default_cache)  # vectors and trained arms, by the hash of what made them
    seed: int = 0  # of all that is drawn at random

    def encoder(self) -> Encoder:
        """The encoder of the benches: the offline MiniLM, so that figures compare across machines."""
        from foveal.models import load_encoder

        return load_encoder("minilm")

    def folder(self, name: str, needs: Sequence[str]) -> Path:
        """The folder of data set `name`, which must hold the files `needs` (each as it is, or with `.gz`)."""
        folder = self.data / name
        missing = [need for need in needs if not any((folder / f"{need}{end}").is_file() for end in ("", ".gz"))]
        if missing or not folder.is_dir():
            raise InputError(
                f"The data set {name} was not found whole: {folder} lacks {', '.join(missing) or 'everything'}. "
                f"Name the folder that holds {name}/ by --data or FOVEAL_DATA; in it are needed {', '.join(needs)} "
                "(each may end in .gz)."
            )
        return folder

    def file(self, name: str, file: str) -> Path:
        """One file of a data set, as it is or with `.gz`. InputError: it is not there."""
        return present(self.folder(name, (file,)), file)

    def one_of(self, name: str, file: str, pattern: str) -> Path:
        """That file, or where it is not there the first other one of the pattern (`.gz` too). InputError: none is."""
        folder = self.data / name
        found = sorted([*folder.glob(pattern), *folder.glob(f"{pattern}.gz")])
        if present(folder, file).is_file() or not found:
            return self.file(name, file)
        log.info("%s stands in for %s/%s", found[0].name, name, file)
        return found[0]

    def text(self, name: str, file: str) -> str:
        """The text of such a file, unpacked. InputError: it is not there, damaged, or not UTF-8."""
        return text_in(self.file(name, file))

    def essays(self) -> list[str]:
        """The texts of the data set essays, by their files' names. InputError: there are none."""
        folder = self.data / "essays"
        texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.txt"))]
        if not texts:
            raise InputError(f"{folder} holds no essays (*.txt). Name the data folder by --data or FOVEAL_DATA.")
        return texts

    def cached_vectors(self, key_parts: Sequence[str], texts: Sequence[str], encoder: Encoder) -> np.ndarray:
        """Vectors (len(texts), dimension), encoded once for each encoder, its type, code and texts, then read from the
        cache.

        `key_parts` (such as "scifact", "corpus") open the file's name, so that a person can tell the files apart.
        """
        import numpy as np

        how = f"{getattr(encoder, 'dtype', '')}{' in int8' * getattr(encoder, 'in_bytes', False)}"
        digest = text_digest(f"{encoder.fingerprint} {how} {_code_of(encoder)}", texts)
        path = self.cache / "vectors" / f"{'-'.join(key_parts)}-{digest[:24]}.npy"
        if not path.is_file():
            log.info("encoding %d texts with %s; later runs read them from the cache", len(texts), encoder.name)
            vectors = np.asarray(encoder.encode(texts), dtype=np.float32)
            with whole_file(path) as partial:
                np.save(partial, vectors, allow_pickle=False)
        cached: np.ndarray = np.load(path, allow_pickle=False)
        return cached


def _code_of(encoder: Encoder) -> str:
    """What an encoder's vectors are made by: the modules of its class and those of `foveal.models` that it imports."""
    from foveal.bench.code import code_digest, native_digest

    made_by = {one.__module__ for one in type(encoder).__mro__} - {"builtins", "typing"}
    return f"{code_digest(*sorted(made_by), within='foveal.models')}-{native_digest(*COMPILED)}"


def text_digest(fingerprint: str, texts: Sequence[str]) -> str:
    """A hash of the texts and of what encodes them."""
    digest = hashlib.sha256(fingerprint.encode())
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)  # lengths keep ("ab", "c") and ("a", "bc") apart
    return digest.hexdigest()
