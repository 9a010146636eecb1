"""Small encoder-decoders where no large one is at hand, to be taught by `training/corpusbrain.py`.

small_seq2seq    T5's layers from random weights, with a byte-level vocabulary learned from the corpus: for any
                 language; what it knows it learns from the collection alone, which takes long
over_encoder     a sentence encoder that reads (MiniLM), and a decoder of two layers from random weights that has its
                 embeddings of words: it begins by knowing words, and learns in minutes what the other does in hours

Source    T5: Raffel et al., JMLR 2020 (relative positions, norms before the layers); byte pairs: Radford et al., 2019
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from foveal.errors import InputError
from foveal.evaluation.kilt import MARKS
from foveal.models.bert import supports
from foveal.models.quiet import quiet
from foveal.models.title_models import SEPARATOR, Seq2SeqTitles
from foveal.ranges import BELOW_ONE, COUNT, Range, require_settings

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
BYTES = 256


@dataclass(frozen=True, kw_only=True)
class SmallSettings:
    """The size of the model; the defaults make 6 million weights."""

    vocabulary: int = 8000  # tokens, with the 256 bytes and 6 special ones
    width: int = 256
    encoder_layers: int = 2
    decoder_layers: int = 2
    heads: int = 4
    inner: int = 1024  # numbers between the two matrices of a layer
    dropout: float = 0.1

    def __post_init__(self) -> None:
        require_settings(
            "A small model of titles", self, vocabulary=Range(BYTES + 6), width=COUNT, encoder_layers=COUNT,
            decoder_layers=COUNT, heads=COUNT, inner=COUNT, dropout=BELOW_ONE,
        )  # fmt: skip
        if self.heads < 1 or self.width % self.heads or not 0 <= self.dropout < 1:
            raise InputError(f"{self} needs a width that its heads divide, and a dropout of 0 to below 1.")


def small_seq2seq(texts: Sequence[str], settings: SmallSettings, *, max_query: int, seed: int) -> Seq2SeqTitles:
    """The model, its vocabulary learned from `texts`, its weights drawn from the seed. InputError: no texts."""
    from transformers import T5Config, T5ForConditionalGeneration

    tokenizer = own_tokenizer(texts, settings.vocabulary)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=settings.width, d_kv=settings.width // settings.heads, d_ff=settings.inner,
        num_layers=settings.encoder_layers, num_decoder_layers=settings.decoder_layers, num_heads=settings.heads,
        dropout_rate=settings.dropout, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    config.decoder_start_token_id = tokenizer.pad_token_id
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = T5ForConditionalGeneration(config)
    return Seq2SeqTitles(model.eval(), tokenizer, max_query=max_query)


def over_encoder(folder: Path, settings: SmallSettings, *, max_query: int, seed: int) -> Seq2SeqTitles:
    """A decoder over the encoder of the BERT family in `folder`; of the settings only its layers and dropout count.

    InputError: another kind of model.
    """
    import transformers

    if not supports(folder):
        raise InputError(
            f"{folder} holds no encoder of the BERT family for a decoder to stand on. Name one, as minilm."
        )
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        encoder = transformers.AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        config = transformers.BertConfig(
            **{
                **encoder.config.to_dict(), "num_hidden_layers": settings.decoder_layers, "is_decoder": True,
                "add_cross_attention": True, "hidden_dropout_prob": settings.dropout,
            }
        )  # fmt: skip
        decoder = transformers.BertLMHeadModel(config)
        decoder.bert.embeddings.load_state_dict(encoder.embeddings.state_dict())
        model: Any = transformers.EncoderDecoderModel(encoder=encoder.float(), decoder=decoder)
    begin, end, padding = tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id
    model.config.decoder_start_token_id, model.config.eos_token_id, model.config.pad_token_id = begin, end, padding
    return Seq2SeqTitles(model.eval(), tokenizer, max_query=max_query)


def own_tokenizer(texts: Sequence[str], vocabulary: int) -> Any:
    """A byte-level tokenizer of at most so many tokens, merged as often as they stand together in `texts`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    if not any(text.strip() for text in texts):
        raise InputError("A vocabulary was to be learned from no text. Give the texts of the collection.")
    special = [PAD, END, UNKNOWN, SEPARATOR, *MARKS]
    bytewise = Tokenizer(models.BPE(unk_token=UNKNOWN))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bytewise.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bytewise.train_from_iterator(texts, trainer)
    end = (END, bytewise.token_to_id(END))
    bytewise.post_processor = processors.TemplateProcessing(f"$A {END}", f"$A {END} $B {END}", [end])
    fast: Any = PreTrainedTokenizerFast
    return fast(
        tokenizer_object=bytewise, pad_token=PAD, eos_token=END, unk_token=UNKNOWN,
        additional_special_tokens=[SEPARATOR, *MARKS],
    )  # fmt: skip
