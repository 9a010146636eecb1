"""Language models of the layers: streaming, writing, saving, training."""

from __future__ import annotations

import warnings

import pytest
import torch
from nn.streams import assert_same_state
from transformers import AutoConfig, AutoModelForCausalLM

import foveal.nn as layers
from foveal.errors import InputError, ModelUnavailable, UnknownName
from foveal.nn.next_tokens import drawn
from foveal.registry import LAYERS, lookup

MEMORY = {"heads": 2, "chunk": 4}
MODELS = {
    "lmm": ("Titans", {"variant": "lmm", "memory": MEMORY}),
    "mac": ("Titans", {"variant": "mac", "heads": 2, "window": 8, "memory": MEMORY}),
    "mag": ("Titans", {"variant": "mag", "heads": 2, "window": 8, "memory": MEMORY}),
    "mal": ("Titans", {"variant": "mal", "heads": 2, "window": 8, "memory": MEMORY}),
    "aaren": ("Aaren", {"heads": 2}),
    "routing": ("Routing", {"heads": 4, "clusters": 4, "window": 8, "local_window": 8}),
}


def model_of(name, **options):
    family, mixer = MODELS[name]
    config = getattr(layers, f"{family}Config")
    kind = layers.RoutingTransformerLM if family == "Routing" else getattr(layers, f"{family}LM")
    torch.manual_seed(0)
    sizes = {"vocab_size": 31, "hidden_size": 16, "num_hidden_layers": 2, "mixer": mixer}
    return kind(config(**{**sizes, **options})).eval()


def ids_of(*shape, seed=0):
    return torch.randint(31, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", MODELS)
def test_it_streams_writes_and_is_loaded_as_it_was_saved(name, tmp_path):
    model, ids = model_of(name), ids_of(2, 21)
    with torch.no_grad():
        whole = model(ids, keep_state=True)
        first = model(ids[:, :10], keep_state=True)
        rest = model(ids[:, 10:], state=first.state, keep_state=True)
        torch.testing.assert_close(torch.cat([first.logits, rest.logits], 1), whole.logits, atol=1e-5, rtol=1e-5)
        assert_same_state(rest.state, whole.state, atol=1e-5, rtol=1e-5)
        state, given = model.init_state(2), []
        for place in range(21):
            logits, state = model.step(ids[:, place], state)
            given.append(logits)
        torch.testing.assert_close(torch.stack(given, 1), whole.logits, atol=1e-5, rtol=1e-5)
        changed = torch.cat([ids[:, :10], ids_of(2, 11, seed=5)], 1)
        torch.testing.assert_close(model(changed).logits[:, :10], whole.logits[:, :10], atol=1e-6, rtol=1e-6)
    written = model.generate(ids, max_new_tokens=6)
    again = ids
    for _ in range(6):
        again = torch.cat([again, model(again).logits[:, -1:].argmax(-1)], 1)
    assert torch.equal(written, again)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert torch.equal(loaded.generate(ids, max_new_tokens=6), written)
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert sorted(one.suffix for one in tmp_path.iterdir()) == [".json", ".safetensors"]


@pytest.mark.parametrize("name", ["mag", "aaren", "routing", "baseline"])
def test_transformers_finds_it_by_its_saved_config(name, tmp_path):
    model = (
        layers.BaselineLM(layers.BaselineConfig(vocab_size=31, kind="gru")) if name == "baseline" else model_of(name)
    )
    model.eval().save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is type(model.config)
    found = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(found) is type(model)
    ids = ids_of(1, 9)
    torch.testing.assert_close(found(ids).logits, model(ids).logits)
    assert type(AutoModelForCausalLM.from_config(model.config)) is type(model)


def test_its_vocabulary_may_grow():
    model, ids = model_of("mag"), ids_of(1, 9)
    before = model(ids).logits
    model.resize_token_embeddings(40, mean_resizing=False)
    assert model.config.vocab_size == 40
    assert model.head.weight is model.embed.weight
    torch.testing.assert_close(model(ids).logits[..., :31], before)
    assert model(torch.tensor([[39]])).logits.shape == (1, 1, 40)


def test_it_writes_behind_whole_rows_only():
    model, ids = model_of("mag"), ids_of(2, 9)
    whole = torch.ones_like(ids)
    expected = model.generate(ids, max_new_tokens=3)
    assert torch.equal(model.generate(input_ids=ids, attention_mask=whole, max_new_tokens=3), expected)
    whole[1, 7:] = 0
    with pytest.raises(InputError, match=r"TitansLM.generate got padded rows.*one at a time"):
        model.generate(ids, whole, max_new_tokens=3)


@pytest.mark.parametrize("name", MODELS)
def test_it_learns_to_repeat(name):
    model = model_of(name).train()
    ids = ids_of(4, 6).repeat(1, 4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    first = None
    for _ in range(15):
        loss = model(ids, labels=ids).loss
        first = first or loss.item()
        optimizer.zero_grad()
        loss.backward()
        assert all(one.grad is not None for one in model.parameters())
        optimizer.step()
    assert loss.item() < 0.75 * first


def test_the_loss_is_that_of_the_next_tokens_and_passes_over_padding():
    model, ids = model_of("aaren"), ids_of(2, 9)
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[1, 5:] = 0
    logits = model(ids, attention_mask=mask).logits.log_softmax(-1)
    told = [-logits[b, t, ids[b, t + 1]] for b, last in ((0, 8), (1, 4)) for t in range(last)]
    loss = model(ids, attention_mask=mask, labels=ids).loss
    torch.testing.assert_close(loss, torch.stack(told).mean())
    assert model(ids[:, :1], labels=ids[:, :1]).loss.item() == 0
    torch.testing.assert_close(model(ids[1:, :5]).logits, model(ids, attention_mask=mask).logits[1:, :5])
    assert torch.isfinite(model(ids, attention_mask=0 * mask, labels=ids).loss)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int32])
def test_ids_may_be_whole_numbers_of_any_width(kind):
    model, ids = model_of("aaren"), ids_of(2, 7)
    narrow, mask = ids.to(kind), torch.tensor([[1] * 7, [1] * 5 + [0] * 2])
    found, wanted = (model(one, attention_mask=mask, labels=one) for one in (narrow, ids))
    assert torch.equal(found.logits, wanted.logits)
    assert torch.equal(found.loss, wanted.loss)
    assert torch.equal(model.generate(narrow, max_new_tokens=3), model.generate(ids, max_new_tokens=3))


@pytest.mark.parametrize("name", ["mag", "routing"])
def test_no_state_is_kept_of_padded_rows(name):
    model, ids = model_of(name), ids_of(2, 9)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    with pytest.raises(InputError, match="state of padded rows"):
        model(ids, attention_mask=mask, keep_state=True)
    assert model(ids, attention_mask=torch.ones_like(ids), keep_state=True).state is not None


def test_the_routing_loss_is_part_of_the_loss_in_training_alone():
    """Evaluated, the loss is what the text costs: a perplexity was told too high by what draws to centroids."""
    model, ids = model_of("routing", mixer={**MODELS["routing"][1], "commitment": 1.0}), ids_of(2, 9)
    plain = model_of("routing", mixer={**MODELS["routing"][1], "commitment": 0.0})
    assert torch.equal(model(ids, labels=ids).loss, plain(ids, labels=ids).loss)
    assert model.train()(ids, labels=ids).loss.item() > plain.train()(ids, labels=ids).loss.item() + 0.1


def test_a_routing_model_that_was_loaded_is_trained_on(tmp_path):
    """It raised NotImplementedError: transformers makes models on "meta" first, and a tensor had stayed there."""
    model, ids = model_of("routing"), ids_of(2, 9)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    for one in (model.train(), loaded.train()):
        optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            one(ids, labels=ids).loss.backward()
            optimizer.step()
    for name, one in loaded.eval().state_dict().items():
        torch.testing.assert_close(one, model.eval().state_dict()[name])


def test_a_model_with_topk_routing_writes_by_reading_all_again():
    mixer = {**MODELS["routing"][1], "selection": "topk"}
    model, ids = model_of("routing", mixer=mixer), ids_of(1, 12)
    written = model.generate(ids, max_new_tokens=3)
    again = ids
    for _ in range(3):
        again = torch.cat([again, model(again).logits[:, -1:].argmax(-1)], 1)
    assert torch.equal(written, again)
    for options in ({}, {"state": model.init_state}):
        with pytest.raises(InputError, match="The topk selection has no state"):
            model(ids, keep_state=True, **{name: make(1) for name, make in options.items()})
    part_local = model_of("routing", mixer=mixer, routing_from=1)  # what was told went on in the local layers alone
    with pytest.raises(InputError, match="The topk selection has no state"):
        part_local(ids, keep_state=True)


def test_the_first_layers_may_be_local():
    model = model_of("routing", routing_from=1, num_hidden_layers=3)
    assert [one.mixer.routed is None for one in model.blocks] == [True, False, False]


def test_updates_can_be_switched_off():
    model, ids = model_of("mag"), ids_of(1, 40)
    on = model(ids).logits
    model.set_updates(False)
    off = model(ids, keep_state=True)
    assert not torch.equal(on, off.logits)
    model.set_updates(True)
    assert torch.equal(model(ids).logits, on)


def test_writing_is_drawn_from_a_generator_and_ends():
    model, ids = model_of("aaren"), ids_of(3, 5)
    draws = [
        model.generate(ids, max_new_tokens=12, temperature=1.0, top_k=5, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    end = int(model.generate(ids, max_new_tokens=1)[0, -1])
    ended = model.generate(ids, max_new_tokens=12, eos_token_id=end)[0, 5:]
    assert (ended == end).all()
    with pytest.raises(InputError, match="temperature = -1"):
        model.generate(ids, temperature=-1)


def test_a_text_ends_at_any_of_several_tokens_and_at_the_configs():
    model, ids = model_of("aaren"), ids_of(3, 5)
    with torch.no_grad():
        model.norm.weight.zero_()  # all tokens are as likely, so that a draw soon gives each
    free = model.generate(ids, max_new_tokens=60, temperature=1.0, generator=torch.Generator().manual_seed(0))[:, 5:]
    ends, expected = [3, 7], free.clone()
    last = [min(row.index(end) for end in ends if end in row) for row in free.tolist()]
    for row, at in zip(expected, last, strict=True):
        row[at + 1 :] = 3

    def ended(**how):
        draw = torch.Generator().manual_seed(0)
        return model.generate(ids, max_new_tokens=60, temperature=1.0, generator=draw, **how)[:, 5:]

    given = ended(eos_token_id=ends)
    assert torch.equal(given, expected[:, : max(last) + 1])
    model.config.eos_token_id = ends
    assert torch.equal(ended(), given)
    assert torch.equal(ended(eos_token_id=3), ended(eos_token_id=[3]))
    with pytest.raises(InputError, match="got eos_token_id of 31 to 31"):
        ended(eos_token_id=31)


def test_weights_that_are_missing_are_named(tmp_path):
    from safetensors.torch import load_file, save_file

    model_of("aaren").save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["blocks.0.mixer.query"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelUnavailable, match=r"blocks\.0\.mixer\.query"):
        layers.AarenLM.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"half a file")
    with pytest.raises(ModelUnavailable, match="could not be loaded as AarenLM"):
        layers.AarenLM.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelUnavailable, match="could not be loaded as AarenLM"):
        layers.AarenLM.from_pretrained(tmp_path)


def test_the_weights_of_another_config_are_named(tmp_path, caplog):
    model_of("mag").save_pretrained(tmp_path)
    mixer = MODELS["mag"][1]
    wider = layers.TitansConfig(vocab_size=31, hidden_size=32, num_hidden_layers=2, mixer=mixer)
    with pytest.raises(ModelUnavailable, match=r"another shape than its config says: .* is \(16,\), needed is \(32,\)"):
        layers.TitansLM.from_pretrained(tmp_path, config=wider)
    assert not caplog.messages
    lower = layers.TitansConfig(vocab_size=31, hidden_size=16, num_hidden_layers=1, mixer=mixer)
    layers.TitansLM.from_pretrained(tmp_path, config=lower)
    assert "has no place for: blocks.1." in caplog.messages[0]


@pytest.mark.parametrize("temperature", [1e-45, 1e-38, 1e38])
def test_a_draw_may_be_as_cold_or_hot_as_there_are_numbers(temperature):
    logits = torch.tensor([[1.0, 3.0, 2.0]]) * 1e4
    draw = torch.Generator().manual_seed(0)
    found = {int(drawn(logits, temperature, 2, draw)) for _ in range(20)}
    assert found == ({1} if temperature < 1 else {1, 2})


def test_wrong_input_is_named():
    model, ids = model_of("aaren"), ids_of(2, 6)
    left = torch.tensor([[0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    state = model_of("mag")(ids, keep_state=True).state
    for call, words in (
        (lambda: model(ids, attention_mask=left), "padding_side"),
        (lambda: model(ids[:, :0]), "1 token or more"),
        (lambda: model(ids, labels=ids[:, :3]), "Make them equal"),
        (lambda: model(ids, state=state), "'TitansLM', 2 layers"),
        (lambda: model.step(ids[:, 0], state), "init_state"),
        (lambda: model(ids + 31), "input_ids of .* from 0 to 30"),
        (lambda: model(ids.float()), "input_ids of torch.float32"),
        (lambda: model(ids, labels=ids - 40), "labels of"),
        (lambda: model.step(torch.tensor([31, 0]), model.init_state(2)), "ids of 0 to 31"),
        (lambda: model.generate(ids, temperature=float("nan")), "temperature = nan"),
        (lambda: model.generate(ids, temperature=float("inf")), "temperature = inf"),
        (lambda: model.generate(ids, max_new_tokens=-1), "max_new_tokens = -1"),
        (
            lambda: model_of("aaren", mixer={"depth": 3}),
            "got depth, which AarenSettings does not have. It has: dim, heads",
        ),
        (lambda: model_of("mag", mixer={"memory": {"chunks": 4}}), "got chunks, which MemorySettings does not have"),
        (lambda: model_of("aaren", mixer={"dim": 32}), "hidden_size = 16 and a mixer of dim = 32"),
        (lambda: model_of("mag", mixer={"heads": 4.0}), "heads = 4.0; it needs a whole number"),
        (lambda: model_of("mag", mixer={"heads": "4"}), "heads = '4'; it needs a whole number"),
        (lambda: model_of("mag", mixer={"memory": None}), "memory = None"),
        (lambda: model_of("mag", mixer={"memory": {"theta_max": float("inf")}}), "theta_max = inf"),
        (lambda: model_of("aaren", vocab_size=0), "vocab_size = 0"),
        (lambda: model_of("routing", mixer={"selection": "topk", "causal": False}), "to come"),
    ):
        with pytest.raises(InputError, match=words):
            call()


def test_every_name_is_a_class_and_importing_is_light():
    for name in LAYERS:
        assert getattr(layers, name) is lookup(LAYERS, name, kind="layer")
        assert name in dir(layers)
    with pytest.raises(UnknownName, match="NeuralMemory"):
        lookup(LAYERS, "LSTM", kind="layer")
    with pytest.raises(AttributeError, match="no attribute 'LSTM'"):
        _ = layers.LSTM


@pytest.mark.parametrize("name", MODELS)
def test_weights_may_be_bfloat16(name):
    model, ids = model_of(name).to(torch.bfloat16), ids_of(2, 13)
    written = model.generate(ids, max_new_tokens=3)
    assert written.shape == (2, 16)
    loss = model.train()(ids, labels=ids).loss
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(torch.isfinite(one.grad).all() for one in model.parameters())


def test_the_training_loop_trains_it_and_goes_on(tmp_path):
    from foveal.training.loop import Job, LoopSettings, train

    rows = [{"input_ids": one, "labels": one} for one in ids_of(32, 6).repeat(1, 3)]

    def collate(batch):
        return {name: torch.stack([one[name] for one in batch]) for name in batch[0]}

    def mean_loss(model):
        batch = collate(rows)
        with torch.no_grad():
            return {"accuracy": -model(**batch).loss.item()}

    settings = LoopSettings(steps=6, batch=8, learning_rate=1e-2, warm_up=0.0, evaluate_every=3)
    told = []
    for _ in range(2):  # the second finds the first one's weights
        model = model_of("routing")
        job = Job(model, rows, evaluate=mean_loss, metric="accuracy", collate=collate, identity={"model": "tiny"})
        curves = train(job, settings, tmp_path / "run")
        told.append({name: one.clone() for name, one in model.state_dict().items()})
    assert curves.steps == 6
    assert curves.metrics[-1][1]["accuracy"] > curves.metrics[0][1]["accuracy"]
    assert int(told[0]["blocks.0.mixer.routed.means.updates"]) in (3, 6)  # at the best step
    for name, one in told[0].items():
        assert torch.equal(one, told[1][name]), name


def compiled_as_plain(model, ids, backend):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's compiler uses what PyTorch deprecates
        compiled = torch.compile(model, backend=backend, fullgraph=True)(ids, labels=ids)
        compiled.loss.backward()
    slopes = {one: weight.grad.clone() for one, weight in model.named_parameters()}
    model.zero_grad()
    plain = model(ids, labels=ids)
    plain.loss.backward()
    torch.testing.assert_close(compiled.logits, plain.logits, atol=1e-5, rtol=1e-5)
    for one, weight in model.named_parameters():
        torch.testing.assert_close(slopes[one], weight.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_it_is_one_graph_to_the_compiler():
    compiled_as_plain(model_of("routing", num_hidden_layers=1), ids_of(2, 8), "aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["aaren", "mag", "routing"])
def test_it_compiles(name):
    compiled_as_plain(model_of(name, num_hidden_layers=1), ids_of(2, 8), "inductor")
