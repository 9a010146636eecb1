"""The tokenizer that a GGUF file describes, as one of transformers: the same text gives the same ids.

A file holds tokens with their kinds, merges or scores, and the name of the way in which text is split beforehand
(`tokenizer.ggml.pre`, llama.cpp's word). The two families that decoders have:

"gpt2"    bytes spelled as letters, split by expressions, joined by the merges that the file lists
"llama"   SentencePiece: spaces spelled as "▁", characters joined by the scores of what they make, bytes as "<0x0A>"

Traps     without the right split words give other tokens, and nothing says so: a name that is not known is refused. Of
          a "llama" file merges are recovered from the scores. A space goes before a text, and after each control token,
          as llama.cpp does it; Mistral's later vocabularies, where [INST] is a control token, have it only before a
          text, and Phi-3's control tokens take the space behind them in
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from foveal.models.gguf_file import GgufFile

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CONTROL, USER_DEFINED = 3, 4
"""Kinds of tokens; what is none of these is text."""

MOST_LETTERS = 2**30
"""All tokens' lengths, each squared, which is what cutting them in two costs; 2^26 are usual for 2^18 tokens."""

TURNS = (
    "<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<|endoftext|>", "<|end_of_text|>", "<end_of_turn>",
    "<|im_start|>", "<start_of_turn>",
)  # fmt: skip
"""Control tokens, whatever kind a file gives them: some files know them as text. Not "</s>", which is also HTML."""

_CONTRACTED = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_REST_AND_SLASH = _REST.replace(r"[\r\n]*", r"[\r\n/]*")
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_BEFORE = r"[^\r\n\p{L}\p{N}]?"


def _cased(end: str) -> str:
    """Words of which each begins at its capitals."""
    return f"{_BEFORE}{_UPPER}*{_LOWER}+{end}|{_BEFORE}{_UPPER}+{_LOWER}*{end}"


@dataclass(frozen=True)
class Split:
    """How text is split before its bytes are joined; without expressions, as GPT-2 does it."""

    expressions: tuple[str, ...] = ()
    digits: bool = False  # each digit is a piece, before all else
    whole: bool = False  # a piece that is a token is taken as one, whatever the merges say
    begins: bool = False  # a text begins with the bos token where the file does not say


GPT2, DIGITS = Split(), Split(digits=True)
LLAMA3 = Split((f"{_CONTRACTED}|{_WORD}|\\p{{N}}{{1,3}}{_REST}",))
LLAMA3_WHOLE = Split(LLAMA3.expressions, whole=True, begins=True)
QWEN2 = Split((f"{_CONTRACTED}|{_WORD}|\\p{{N}}{_REST}",))
TEKKEN = Split((f"{_cased('')}|\\p{{N}}{_REST_AND_SLASH}",), whole=True, begins=True)
GPT4O = Split((f"{_cased(_CONTRACTED + '?')}|\\p{{N}}{{1,3}}{_REST_AND_SLASH}",))
DEEPSEEK_CODER = Split((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"))

SPLITS: Mapping[str, Split] = {
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "lfm2", "midm-2.0"), LLAMA3_WHOLE),
    **dict.fromkeys(("dbrx", "smaug-bpe"), LLAMA3),  # Phi-4 and OLMo 2 are "dbrx"
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "megrez", "stablelm2", "hunyuan", "kormo"), QWEN2),
    "tekken": TEKKEN,
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2"), GPT4O),
    "deepseek-coder": DEEPSEEK_CODER,
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"), DIGITS),
    **dict.fromkeys(("gpt-2", "phi-2", "olmo", "mpt", "trillion", "granite-docling", "exaone4"), GPT2),
}
"""Names that files give to their split -> what it is."""

OWN = {"qwen2": "qwen2", "qwen3": "qwen2"}
"""Architecture -> the split of old files that do not name theirs; the others have had several."""


def tokenizer_of(file: GgufFile) -> Any:
    """The tokenizer of the file, a transformers.PreTrainedTokenizerFast with its special tokens and chat template.

    ValueError: its tokens are of a family or a split that is not known, or do not fit together.
    """
    from transformers import PreTrainedTokenizerFast

    family = file.value("tokenizer.ggml.model")
    if family not in ("gpt2", "llama"):
        raise ValueError(
            f"its tokens are of the family {str(family)[:40]!r} (tokenizer.ggml.model); known are gpt2 and llama"
        )
    tokens, kinds = _tokens(file)
    if family == "gpt2":
        split = _split(file)
        begins, made = split.begins, _byte_level(file, tokens, split)
    else:
        begins, made = True, _sentence_pieces(file, tokens)
    _add_special(made, file, tokens, kinds)
    made_of: Any = PreTrainedTokenizerFast
    return made_of(
        tokenizer_object=made,
        add_bos_token=bool(file.value("tokenizer.ggml.add_bos_token", begins)),
        **({"add_eos_token": True} if file.value("tokenizer.ggml.add_eos_token", False) else {}),
        **_special(file, tokens),
        **_template(file),
        is_local=True,  # so were the folders of earlier conversions: a model is known by the hash of its files
        local_files_only=False,
    )


def end_ids(file: GgufFile) -> list[int]:
    """Ids of the tokens that end an answer, as far as the file states them: of a text, a turn, a message."""
    roles, count = role_ids(file), len(file.texts("tokenizer.ggml.tokens"))
    stated = [roles["eos"], *(file.value(f"tokenizer.ggml.{end}_token_id", None) for end in ("eot", "eom"))]
    known = [one for one in stated if isinstance(one, int) and 0 <= one < count]
    return list(dict.fromkeys(known))


def role_ids(file: GgufFile) -> dict[str, int | None]:
    """The ids of bos, eos, unk and pad; None: the file states none. ValueError: one that is no token."""
    count, usual = len(file.texts("tokenizer.ggml.tokens")), {}
    if file.value("tokenizer.ggml.model") == "llama":
        usual = {"bos": 1, "eos": 2, "unk": 0}
    found: dict[str, int | None] = {}
    for role, key in {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}.items():
        place = file.value(f"tokenizer.ggml.{key}_token_id", usual.get(role))
        if place is not None and (not isinstance(place, int) or not 0 <= place < count):
            raise ValueError(f"its {role} is the token {str(place)[:40]}, and there are {count}")
        found[role] = place
    return found


def _tokens(file: GgufFile) -> tuple[list[str], list[int]]:
    """All tokens and their kinds; an empty one gets a name of its own, as llama.cpp gives it."""
    tokens = [token or f"[EMPTY_{place}]" for place, token in enumerate(file.texts("tokenizer.ggml.tokens"))]
    if sum(len(token) ** 2 for token in tokens) > MOST_LETTERS:
        raise ValueError(f"its tokens are too long, the longest has {max(map(len, tokens))} letters")
    kinds = file.value("tokenizer.ggml.token_type", [1] * len(tokens))
    if not isinstance(kinds, list) or len(kinds) < len(tokens) or len(set(tokens)) < len(tokens):
        raise ValueError(f"it has {len(tokens)} tokens, which are not all different, or not all of a kind")
    return tokens, [CONTROL if token in TURNS else kind for token, kind in zip(tokens, kinds, strict=False)]


def _split(file: GgufFile) -> Split:
    name = file.value("tokenizer.ggml.pre", OWN.get(file.value("general.architecture"), "none"))
    if name not in SPLITS:
        raise ValueError(
            f"it splits text in a way that is not known (tokenizer.ggml.pre: {str(name)[:40]}); known are "
            f"{', '.join(SPLITS)}. Files from before May 2024 often name none: take a newer one"
        )
    return SPLITS[name]


def _byte_level(file: GgufFile, tokens: list[str], split: Split) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    places = {token: place for place, token in enumerate(tokens)}
    merges = _stated_merges(file, places)
    made = Tokenizer(
        models.BPE(
            vocab=places,
            merges=merges,
            continuing_subword_prefix="",
            end_of_word_suffix="",
            fuse_unk=False,
            ignore_merges=split.whole,
        )
    )
    pieces: list[Any] = [pre_tokenizers.Split(Regex(one), behavior="isolated") for one in split.expressions]
    if split.digits:
        pieces.append(pre_tokenizers.Digits(individual_digits=True))
    pieces.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not split.expressions))
    made.pre_tokenizer = pre_tokenizers.Sequence(pieces)
    made.decoder = decoders.ByteLevel()
    return made


def _stated_merges(file: GgufFile, places: Mapping[str, int]) -> list[tuple[str, str]]:
    """The pairs that the file lists. ValueError: one of which a side, or what it makes, is no token."""
    found = []
    for merge in file.texts("tokenizer.ggml.merges"):
        cut = merge.find(" ", 1)  # a token may begin with a space
        left, right = merge[:cut], merge[cut + 1 :]
        if cut < 0 or not (left in places and right in places and left + right in places):
            raise ValueError(f"its merge {merge[:40]!r} joins no two tokens to a third")
        found.append((left, right))
    return found


def _sentence_pieces(file: GgufFile, tokens: list[str]) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    gemma = file.value("general.architecture").startswith("gemma")
    if gemma:  # runs of spaces stand as such, where the others have them as "▁"
        tokens = ["▁" * len(token) if token.isspace() and set(token) == {" "} else token for token in tokens]
    places = {token: place for place, token in enumerate(tokens)}
    unknown = tokens[role_ids(file)["unk"] or 0]
    model = models.BPE(
        vocab=places, merges=_merges(file, places), fuse_unk=True, unk_token=unknown, byte_fallback=True, dropout=None
    )
    made, spaces = Tokenizer(model), decoders.Replace("▁", " ")
    steps = [spaces, decoders.ByteFallback(), decoders.Fuse()]
    if not file.value("tokenizer.ggml.add_space_prefix", not gemma):
        made.normalizer = normalizers.Replace(" ", "▁")
        made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    elif "[INST]" in places:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        steps.append(decoders.Strip(" ", 1, 0))
    else:
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        steps.append(decoders.Strip(" ", 1, 0))
    made.decoder = decoders.Sequence(steps)
    return made


def _merges(file: GgufFile, places: Mapping[str, int]) -> list[tuple[str, str]]:
    """All pairs of tokens that make a third, the best first: as the file lists them, else by what they make.

    Gemma's are by place, for its scores tell nothing; of pairs that make the same, the longest left part comes first.
    """
    if file.value("tokenizer.ggml.merges", None):
        return _stated_merges(file, places)
    scores = file.value("tokenizer.ggml.scores", [])
    by_place = file.value("general.architecture").startswith("gemma")
    if not by_place and (not isinstance(scores, list) or len(scores) < len(places)):
        raise ValueError("it has neither merges nor a score for each token")
    ranked = sorted(places, key=lambda token: (0.0 if by_place else -scores[places[token]], places[token]))
    cuts = ((whole[:cut], whole[cut:]) for whole in ranked for cut in range(len(whole) - 1, 0, -1))
    return [(left, right) for left, right in cuts if left in places and right in places]


def _add_special(made: Tokenizer, file: GgufFile, tokens: list[str], kinds: list[int]) -> None:
    """Control tokens and those of the user's, which are found in a text before all else."""
    from tokenizers import AddedToken

    takes_space = file.value("general.architecture") == "phi3" and file.value("tokenizer.ggml.model") == "llama"
    plain = ("<unk>", "<s>", "<|endoftext|>")

    def added(token: str, *, special: bool) -> AddedToken:
        strip = takes_space and token not in plain
        return AddedToken(token, normalized=False, special=special, rstrip=strip)

    known = made.get_vocab()
    both = list(zip(tokens, kinds, strict=True))
    named = {tokens[place] for place in role_ids(file).values() if place is not None}
    control = [token for token, kind in both if kind == CONTROL or token in named]
    made.add_special_tokens([added(token, special=True) for token in control])
    user = [token for token, kind in both if kind == USER_DEFINED and token in known and token not in named]
    made.add_tokens([added(token, special=False) for token in user])


def _special(file: GgufFile, tokens: list[str]) -> dict[str, str | None]:
    return {f"{role}_token": None if place is None else tokens[place] for role, place in role_ids(file).items()}


def _template(file: GgufFile) -> dict[str, str]:
    template = file.value("tokenizer.chat_template", None)
    return {"chat_template": template} if isinstance(template, str) and template else {}
