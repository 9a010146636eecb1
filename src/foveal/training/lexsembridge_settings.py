"""How a LexSemBridge is trained: one frozen dataclass, checked when made, with the bridge's own settings inside."""

from __future__ import annotations

from dataclasses import dataclass, field

from foveal.errors import InputError
from foveal.models.lexsembridge import BridgeSettings
from foveal.models.lexsembridge_reading import KINDS, REACH
from foveal.ranges import COUNT, INSIDE, NOT_NEGATIVE, Range, require_one_of, require_settings
from foveal.training.loop_settings import LoopSettings

TRAINED = ("frozen", "both")
"""What becomes of the encoder: it stays as it is, or is trained with the bridge."""


@dataclass(frozen=True, kw_only=True)
class LexSemBridgeSettings:
    """How a bridge is trained."""

    bridge: BridgeSettings = field(default_factory=lambda: BridgeSettings(reach=REACH))
    units: str = "words"
    encoder: str = "frozen"
    from_corpus: bool = True  # W begins with `corpus_weights`, not with 0
    temperature: float = 0.02
    whole_corpus: bool = True  # frozen: a query is told apart from every passage, not from its batch's only
    in_batch: bool = True  # else: from the negatives of its own row only
    negatives: int = 1  # of a row, that words find, down to `depth`; of no use with `whole_corpus`
    depth: int = 30
    init_mlm_head: bool = False  # give CLR a fresh head, which then learns which tokens a text has
    query_tokens: int = 64  # "both": tokens that are read while training, and in the documents
    document_tokens: int = 256
    dev_share: float = 0.1
    dev_documents: int = 1000  # "both": that stand for the corpus while training
    shuffled: bool = False  # the control: each word stands at another one's row
    loop: LoopSettings = field(default_factory=lambda: LoopSettings(batch=64, learning_rate=1e-3))

    def __post_init__(self) -> None:
        for name, known in (("units", KINDS), ("encoder", TRAINED)):
            require_one_of("Training a bridge", self, name, known)
        require_settings(
            "Training a bridge", self, temperature=Range(0, 0.5, open_least=True), negatives=NOT_NEGATIVE,
            depth=COUNT, query_tokens=Range(3), document_tokens=Range(3), dev_share=INSIDE, dev_documents=COUNT,
        )  # fmt: skip
        if self.bridge.method == "CLR" and self.units != "tokens":
            raise InputError('CLR weighs the tokens of the encoder\'s head; train it with units="tokens".')
        if self.shuffled and self.units != "words":
            raise InputError('The shuffled control exchanges words; use it with units="words".')
        if self.from_corpus and self.bridge.rank is not None:
            raise InputError("W of a low rank cannot begin with what the collection says: from_corpus=False.")
        if self.frozen and self.bridge.fuse_passage:
            raise InputError(
                "A bridge over passages changes the index, which a frozen training keeps: fuse_passage=False, or train "
                'the encoder, too (encoder="both").'
            )
        if not self.in_batch and not self.negatives:
            raise InputError("Without the batch's passages a query needs negatives of its own: negatives=1 or more.")

    @property
    def frozen(self) -> bool:
        """Whether the encoder stays as it is."""
        return self.encoder == "frozen"
