"""stiffness on the command line, with a tiny decoder and a tiny encoder: the table, the files, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from cli.test_reading import call
from tiny import byte_tokenizer, tiny

from foveal.errors import InputError
from foveal.nn.stiffness_texts import Opened, batches

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    import transformers

    folder = tmp_path_factory.mktemp("stiffness")
    tiny("qwen", folder / "model")
    tokenizer = byte_tokenizer()
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12,
        max_position_embeddings=64,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder / "encoder")
    tokenizer.save_pretrained(folder / "encoder")
    (folder / "mill.txt").write_text("The keeper of the mill reads by the river. " * 30)
    (folder / "short.txt").write_text("")
    return folder


def stiff(place, *more: str, model="model", **options):
    return call(
        place, "stiffness", str(place / model), "--text", str(place / "mill.txt"), "--tokens", "16", *more, **options
    )


def test_a_table_a_picture_and_a_file(place, tmp_path):
    picture, table = tmp_path / "curves.png", tmp_path / "table.csv"
    done = stiff(place, "--jacobian", "--windows", "2", "--picture", str(picture), "--csv", str(table))
    assert "layers.0" in done.stdout
    assert "JI" in done.stdout
    assert "of 32 tokens" in done.stdout
    assert picture.read_bytes()[:4] == b"\x89PNG"
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 3
    assert all(float(row["ji"]) > 0 for row in rows)


@pytest.mark.parametrize(("model", "blocks"), [("model", 6), ("encoder", 4)])
def test_json_of_branches(place, model, blocks):
    told = json.loads(stiff(place, "--parts", "branches", "--json", model=model).stdout)
    assert (told["unit"], len(told["blocks"])) == ("token", blocks)
    assert told["blocks"][0]["block"].endswith("0.attention")
    assert told["blocks"][0]["ji"] is None


@pytest.mark.parametrize("model", ["model", "encoder"])
def test_models_of_the_home_that_is_named_are_found(place, model):
    """They were looked for in the usual home, whatever --home said."""
    other = place / "another home"
    shutil.copytree(place / model, other / "models" / f"my-{model}", dirs_exist_ok=True)
    told = json.loads(stiff(place, "--home", str(other), "--json", model=model).stdout)
    line = ["stiffness", f"my-{model}", "--text", str(place / "mill.txt"), "--tokens", "16", "--home", str(other)]
    mine = json.loads(call(place, *line, "--json").stdout)
    assert mine == {**told, "model": f"my-{model}"}


def test_it_reads_the_manual_where_no_text_is_named(place):
    told = json.loads(
        call(place, "stiffness", str(place / "encoder"), "--tokens", "8", "--windows", "3", "--json").stdout
    )
    assert told["units"] == 24


def test_a_file_that_cannot_be_written_takes_no_figures_away(place, tmp_path):
    (tmp_path / "in the way").write_text("")
    table = tmp_path / "in the way" / "table.csv"
    for more, what in ((("--json",), '"fsi"'), ((), "layers.0")):
        done = stiff(place, "--csv", str(table), *more, status=1)
        assert what in done.stdout
        assert "cannot be written" in done.said
    early = stiff(place, "--picture", str(tmp_path / "curves.jpg"), status=2)
    assert "must end in .png" in early.said


def test_a_models_own_tokens_need_room():
    """With two around a text, two tokens hold nothing of it; the text was said to be too short."""
    ids = {False: [5] * 40, True: [1, 2]}
    tokenizer = SimpleNamespace(encode=lambda _, add_special_tokens: SimpleNamespace(ids=ids[add_special_tokens]))
    config = SimpleNamespace(get_text_config=lambda: None)
    model = SimpleNamespace(config=config, named_modules=list, device="cpu")
    opened = Opened("an encoder", model, tokenizer, special=True)
    with pytest.raises(InputError, match="puts 2 tokens of its own around a text, and 2 were asked for; ask for 3"):
        batches(opened, "a text", windows=1, tokens=2)
    assert batches(opened, "a text", windows=1, tokens=3)[0]["input_ids"].tolist() == [[1, 5, 2]]


def test_mistakes_are_told(place):
    assert "there are blocks, branches" in stiff(place, "--parts", "layers", status=2).said
    short = call(place, "stiffness", str(place / "model"), "--text", str(place / "short.txt"), status=1)
    assert "two tokens or more" in short.said
    assert "takes 64 tokens" in stiff(place, "--tokens", "65", model="encoder", status=1).said
    unknown = call(place, "stiffness", "nothing", status=1).said
    assert "No model is called 'nothing'" in unknown
    assert all(one in unknown for one in ("minilm", "qwen2.5-coder-0.5b", ".gguf"))  # decoders and encoders
    (place / "own").mkdir(exist_ok=True)
    (place / "own" / "config.json").write_text('{"model_type": "foveal-titans", "architectures": ["TitansLM"]}')
    assert "is built of foveal.nn's layers (foveal-titans)" in stiff(place, model="own", status=1).said
    (place / "empty").mkdir(exist_ok=True)
    assert "holds no model" in stiff(place, model="empty", status=1).said
    missing = call(place, "stiffness", str(place / "model"), "--text", str(place / "gone.txt"), status=1)
    assert "cannot be read as text" in missing.said
