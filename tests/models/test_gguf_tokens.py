"""The tokenizer of a GGUF file gives the ids of the one that it was written from."""

from __future__ import annotations

import itertools
import json

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers.convert_slow_tokenizer import bytes_to_unicode

from foveal.models.gguf_file import GgufFile
from foveal.models.gguf_tokens import SPLITS, end_ids, role_ids, tokenizer_of

CONTRACTED = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
ORIGINAL = {
    "llama-bpe": CONTRACTED
    + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": CONTRACTED + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "tekken": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?"
    r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+",
    "gpt-4o": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll"
    r"|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
"""The expressions as the tokenizer.json of Llama 3, Qwen 2.5, Mistral Nemo and GPT-4o (Phi-4 mini) have them."""

TEXTS = [
    "The keeper's light, seen 1234567 times; DON'T look, WE'LL see it's 3.14 and ½.",
    "def f(x):\n\treturn x**2  # naïve café e\u0301 İstanbul\r\n\r\n    camelCaseWords and XMLHttpRequest //a/b",
    " 東京都 は 한국어 हिन्दी नमस्ते ไทย עברית العربية Привет МИР 😀👩‍👩‍👧 x\u2028y\u00a0z\u3000",
    "   ...   !!!???\n\n\n   \t\t end ",
    "",
]
LEARNT = TEXTS * 3 + ["the light of the lighthouse", "The Light, the lights'", "12 123 1234", "'s 't 'LL", "café"] * 3


def trained(splits: list[pre_tokenizers.PreTokenizer], *, whole: bool = False) -> Tokenizer:
    made = Tokenizer(models.BPE(ignore_merges=whole))
    made.pre_tokenizer = pre_tokenizers.Sequence(splits)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        LEARNT, trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, show_progress=False)
    )
    return made


def by_expression(name: str) -> list[pre_tokenizers.PreTokenizer]:
    split = pre_tokenizers.Split(Regex(ORIGINAL[name]), "isolated")
    return [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]


SPLIT = {
    "llama-bpe": lambda: (by_expression("llama-bpe"), True),
    "dbrx": lambda: (by_expression("llama-bpe"), False),
    "qwen2": lambda: (by_expression("qwen2"), False),
    "tekken": lambda: (by_expression("tekken"), True),
    "gpt-4o": lambda: (by_expression("gpt-4o"), False),
    "smollm": lambda: (
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)],
        False,
    ),
    "gpt-2": lambda: ([pre_tokenizers.ByteLevel(add_prefix_space=False)], False),
}


def stated(made: Tokenizer, pre: str, special: tuple[str, ...] = (), **facts) -> GgufFile:
    """A file's facts of a tokenizer over bytes, with control tokens behind the others."""
    told = json.loads(made.to_str())["model"]
    tokens = [*sorted(told["vocab"], key=told["vocab"].__getitem__), *special]
    return GgufFile(
        {
            "general.architecture": "llama",
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": pre,
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": [1] * (len(tokens) - len(special)) + [3] * len(special),
            "tokenizer.ggml.merges": [" ".join(pair) for pair in told["merges"]],
            **{f"tokenizer.{key.replace('__', '.')}": value for key, value in facts.items()},
        },
        {},
    )


@pytest.mark.parametrize("pre", SPLIT)
def test_bytes_are_joined_as_in_the_original(pre):
    splits, whole = SPLIT[pre]()
    original = trained(splits, whole=whole)
    ours = tokenizer_of(stated(original, pre)).backend_tokenizer
    for text in TEXTS:
        ids = ours.encode(text).ids
        assert ids == original.encode(text).ids
        assert ours.decode(ids) == text


def test_splits_differ_and_all_names_have_one():
    """Else the test above would hold of any."""
    file = stated(trained(SPLIT["gpt-2"]()[0]), "gpt-2")
    told = {}
    for pre in SPLIT:
        file.facts["tokenizer.ggml.pre"] = pre
        split = tokenizer_of(file).backend_tokenizer.pre_tokenizer
        told[pre] = [[piece for piece, _ in split.pre_tokenize_str(text)] for text in TEXTS]
    assert [pair for pair in itertools.combinations(told, 2) if told[pair[0]] == told[pair[1]]] == [
        ("llama-bpe", "dbrx")
    ]
    assert set(SPLIT) <= set(SPLITS)


def test_a_piece_that_is_a_token_is_taken_whole_where_the_vocabulary_wants_it():
    made = trained(SPLIT["llama-bpe"]()[0])
    pieces = ["".join(bytes_to_unicode()[byte] for byte in b" zyxwv")]
    for pre, expected in (("llama-bpe", True), ("dbrx", False)):
        file = stated(made, pre, tuple(pieces))
        file.facts["tokenizer.ggml.token_type"][-1] = 1
        ids = tokenizer_of(file).encode(" zyxwv", add_special_tokens=False)
        assert (ids == [len(file.facts["tokenizer.ggml.tokens"]) - 1]) is expected


def test_control_tokens_are_found_whatever_letters_they_are_spelled_by():
    """DeepSeek's are no letters that bytes are spelled by; a file may know the end of a turn as text."""
    special = ("<｜begin▁of▁sentence｜>", "<｜User｜>", "<|im_end|>", "<start_of_turn>", "<think>", "  \t")
    file = stated(
        trained(SPLIT["qwen2"]()[0]), "deepseek-r1-qwen", special, ggml__bos_token_id=0, ggml__add_bos_token=True
    )
    count = len(file.facts["tokenizer.ggml.tokens"])
    file.facts["tokenizer.ggml.bos_token_id"] = count - 6
    file.facts["tokenizer.ggml.token_type"][-4:] = [1, 4, 4, 4]
    made = tokenizer_of(file)
    found = made.encode("<｜User｜>Hi<|im_end|><start_of_turn><think>  \t", add_special_tokens=False)
    assert [id_ for id_ in found if id_ >= count - 6] == [*range(count - 5, count)]
    assert len(made) == count
    assert made("x")["input_ids"][0] == count - 6
    control = {token.content for token in made.added_tokens_decoder.values() if token.special}
    assert control == {*special[:4]}


def test_a_text_begins_as_the_file_says_or_as_its_split_does():
    made = trained(SPLIT["llama-bpe"]()[0])
    for pre, facts, begins in (
        ("llama-bpe", {}, True),
        ("llama-bpe", {"ggml__add_bos_token": False}, False),
        ("qwen2", {}, False),
        ("qwen2", {"ggml__add_bos_token": True}, True),
    ):
        file = stated(made, pre, ("<|begin_of_text|>",), **facts)
        place = len(file.facts["tokenizer.ggml.tokens"]) - 1
        file.facts["tokenizer.ggml.bos_token_id"] = place
        assert (tokenizer_of(file)("a")["input_ids"][0] == place) is begins


def test_roles_ends_and_the_template_are_the_files_own():
    file = stated(
        trained(SPLIT["gpt-2"]()[0]), "gpt-2", ("<end>", "<turn>"), ggml__eos_token_id=5, ggml__eot_token_id=6
    )
    file.facts["tokenizer.chat_template"] = "{{ messages[0].content }}!"
    assert role_ids(file) == {"bos": None, "eos": 5, "unk": None, "pad": None}
    assert end_ids(file) == [5, 6]
    file.facts["tokenizer.ggml.eom_token_id"] = 10**9
    assert end_ids(file) == [5, 6]
    made = tokenizer_of(file)
    assert (made.bos_token, made.eos_token_id, made.pad_token) == (None, 5, None)
    assert made.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False) == "Hi!"


PIECES = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
WORDS = "the light of the lighthouse in the night, there the keeper lit the lamp and then he slept"


def pieces(special: tuple[str, ...] = (), **facts) -> GgufFile:
    """A file's facts of a small SentencePiece vocabulary: of two merges the one learnt first has the better score."""
    model = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    model.normalizer = normalizers.Replace(" ", "▁")
    letters = sorted({*WORDS.replace(" ", "▁")})
    trainer = trainers.BpeTrainer(vocab_size=80, special_tokens=letters, show_progress=False)
    model.train_from_iterator([WORDS], trainer)
    vocab = model.get_vocab()
    learnt = [token for token in sorted(vocab, key=vocab.__getitem__) if len(token) > 1]
    tokens = [*PIECES, *learnt, *letters, *special]
    kinds = [2, 3, 3, *[6] * 256, *[1] * (len(learnt) + len(letters)), *[3] * len(special)]
    scores = [0.0] * len(PIECES) + [-float(n) for n in range(len(learnt) + len(letters))] + [-1000.0] * len(special)
    return GgufFile(
        {
            "general.architecture": "llama",
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": kinds,
            "tokenizer.ggml.scores": scores,
            **facts,
        },
        {},
    )


def by_definition(file: GgufFile, text: str) -> list[int]:
    """SentencePiece: of all neighbours that make a token, those of the best score are joined, the leftmost first."""
    places = {token: place for place, token in enumerate(file.facts["tokenizer.ggml.tokens"])}
    scores = file.facts["tokenizer.ggml.scores"]
    parts = list(text.replace(" ", "▁"))
    while True:
        joined = [a + b for a, b in itertools.pairwise(parts)]
        best = max(
            (n for n, one in enumerate(joined) if one in places),
            default=None,
            key=lambda n: (scores[places[joined[n]]], -n),
        )
        if best is None:
            break
        parts[best : best + 2] = [joined[best]]
    ids = [[places[part]] if part in places else [3 + byte for byte in part.encode()] for part in parts]
    return list(itertools.chain.from_iterable(ids))


SAID = [WORDS, "then the night light", "  two  spaces ", "höher 東", "there.\n\nthere", ""]


@pytest.mark.parametrize("text", SAID)
def test_pieces_are_joined_by_their_scores(text):
    file = pieces()
    made = tokenizer_of(file).backend_tokenizer
    ids = made.encode(text, add_special_tokens=False).ids
    assert ids == by_definition(file, " " + text if text else "")
    assert made.decode(ids) == text
    file.facts["tokenizer.ggml.add_space_prefix"] = False
    made = tokenizer_of(file).backend_tokenizer
    assert made.encode(text, add_special_tokens=False).ids == by_definition(file, text)


def test_a_space_goes_where_each_family_has_it():
    file = pieces(("<|user|>",))
    user, said = len(file.facts["tokenizer.ggml.tokens"]) - 1, "<|user|>\nthe"
    plain = [1, user, *by_definition(file, " \nthe")]
    assert tokenizer_of(file)(said)["input_ids"] == plain
    file.facts["general.architecture"] = "phi3"  # whose control tokens take in the space behind them
    assert tokenizer_of(file)(said)["input_ids"] == [1, user, *by_definition(file, " the")]
    mistral = pieces(("[INST]", "[/INST]"))
    first = len(mistral.facts["tokenizer.ggml.tokens"]) - 2
    made = tokenizer_of(mistral).backend_tokenizer
    wanted = [1, first, *by_definition(mistral, " the light"), first + 1]
    assert made.encode("<s>[INST] the light[/INST]", add_special_tokens=False).ids == wanted
    assert made.encode("the light", add_special_tokens=False).ids == by_definition(mistral, " the light")


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"tokenizer.ggml.model": "bert"}, "of the family 'bert'"),
        (
            {"tokenizer.ggml.model": "gpt2"},
            "splits text in a way that is not known .*: none.*Files from before May 2024",
        ),
        ({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "bloom"}, "not known .*: bloom.*known are llama-bpe"),
        ({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "qwen2"}, "it states no tokenizer.ggml.merges"),
        (
            {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "qwen2", "tokenizer.ggml.merges": ["ab"]},
            "its merge 'ab' joins no two tokens to a third",
        ),
        ({"tokenizer.ggml.scores": [0.0]}, "neither merges nor a score for each token"),
        ({"tokenizer.ggml.token_type": [1]}, "tokens, which are not all different, or not all of a kind"),
        ({"tokenizer.ggml.tokens": ["a", "a"]}, "2 tokens, which are not all different"),
        ({"tokenizer.ggml.tokens": ["a", "b" * 2**16]}, "its tokens are too long, the longest has 65536 letters"),
        ({"tokenizer.ggml.tokens": [1]}, "its tokenizer.ggml.tokens is no list of texts"),
        ({"tokenizer.ggml.eos_token_id": 10**6}, "its eos is the token 1000000, and there are"),
        ({"tokenizer.ggml.bos_token_id": "x"}, "its bos is the token x"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(facts, told):
    with pytest.raises((ValueError, KeyError), match=told):
        tokenizer_of(pieces(**facts))


def test_old_files_of_one_split_need_not_name_it():
    file = stated(trained(SPLIT["qwen2"]()[0]), "qwen2")
    del file.facts["tokenizer.ggml.pre"]
    file.facts["general.architecture"] = "qwen2"
    assert tokenizer_of(file)("a 12")["input_ids"]
