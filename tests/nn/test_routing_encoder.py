"""The routing encoder: its blocks by definition, both ways, padding, clusters; it learns what windows cannot."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from foveal.errors import InputError
from foveal.nn import RoutingEncoder
from foveal.nn.routing import RoutingSettings

SMALL = {"dim": 16, "heads": 4, "routing_heads": 2, "clusters": 4, "window": 6, "local_window": 4}


def made(layers: int = 2, dropout: float = 0.0, **options) -> RoutingEncoder:
    torch.manual_seed(0)
    settings = RoutingSettings(**{**SMALL, "causal": False, "selection": "topk", **options})
    return RoutingEncoder(settings, layers=layers, dropout=dropout).double().eval()


def drawn(rows: int, tokens: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, tokens, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@torch.no_grad()
def test_it_is_its_blocks_one_after_the_other():
    encoder, x = made(), drawn(2, 30)
    y, loss = encoder(x)
    expected, whole = x, 0.0
    for block in encoder.blocks:
        seen = block.mixer(block.before(expected), keep=False)
        expected = expected + seen.output
        expected = expected + block.mlp(block.middle(expected))
        whole += float(seen.loss)
    torch.testing.assert_close(y, encoder.norm(expected))
    assert float(loss) == pytest.approx(whole)
    assert float(loss) > 0


@torch.no_grad()
def test_a_token_sees_what_stands_behind_it():
    encoder, x = made(), drawn(1, 40)
    other = x.clone()
    other[:, -1] += 3.0
    assert (encoder(x).output[0, :-8] - encoder(other).output[0, :-8]).abs().max() > 1e-6  # far beyond the windows


@torch.no_grad()
def test_padding_changes_nothing():
    encoder, x = made(), drawn(1, 20)
    padded = torch.cat([x, drawn(1, 9, seed=5)], 1)
    mask = torch.arange(29)[None] < 20
    torch.testing.assert_close(encoder(padded, mask).output[:, :20], encoder(x, mask[:, :20]).output)
    torch.testing.assert_close(encoder.summary(padded, mask).output, encoder.summary(x).output)
    with pytest.raises(InputError, match="Row 0 has no token"):
        encoder.summary(x, torch.zeros(1, 20, dtype=torch.bool))


@torch.no_grad()
def test_what_is_read_together_are_the_members_of_the_layers_clusters():
    encoder, x = made(), drawn(2, 25)
    mask = torch.arange(25) < torch.tensor([[25], [4]])
    for given in (None, mask):
        first, last = encoder.read_together(x, given, layer=0), encoder.read_together(x, given)
        assert first.read.shape == last.readers.shape == (2, 2, 4, 25)
        for found, block, seen in (
            (first, encoder.blocks[0], x),
            (last, encoder.blocks[1], encoder.blocks[0](x, None, given, keep=False).x),
        ):
            for got, expected in zip(found, block.mixer.members(block.before(seen), given), strict=True):
                assert torch.equal(got, expected)
    assert not last.read[1, ..., 4:].any()
    assert (last.read[1].sum(-1) == 4).all()
    for got, expected in zip(encoder.read_together(x, layer=-2), encoder.read_together(x, layer=0), strict=True):
        assert torch.equal(got, expected)
    with pytest.raises(InputError, match="no routing heads"):
        made(routing_heads=0).read_together(x)
    for layer in (2, 5, -3):
        with pytest.raises(InputError, match=rf"layer = {layer}; it has 2"):
            encoder.read_together(x, layer=layer)


@torch.no_grad()
def test_the_summary_of_a_long_text_is_a_number_in_float16():
    encoder, x = made().half(), drawn(1, 1, 16).half().expand(1, 40_000, 16).contiguous()
    mask = torch.ones(1, 40_000, dtype=torch.bool)
    encoder.blocks = encoder.blocks[:0]  # the norm alone: what is summed is up to 4
    assert encoder(x).output.abs().max() * 40_000 > torch.finfo(torch.float16).max
    torch.testing.assert_close(encoder.summary(x, mask).output, encoder.summary(x).output)


def test_a_model_in_training_is_asked_without_being_changed():
    encoder, x = made(dropout=0.5).train(), drawn(2, 25)
    encoder.blocks[1].mlp.eval()  # each part goes back to its own mode
    encoder(x)
    counted = [block.mixer.routed.means._seen for block in encoder.blocks]
    held = {name: one.clone() for name, one in encoder.named_buffers()}
    modes = [one.training for one in encoder.modules()]
    for got, expected in zip(encoder.read_together(x), made().read_together(x), strict=True):  # so without dropout
        assert torch.equal(got, expected)
    assert [one.training for one in encoder.modules()] == modes
    assert all(torch.equal(one, held[name]) for name, one in encoder.named_buffers())
    for block, before in zip(encoder.blocks, counted, strict=True):
        assert block.mixer.routed.means._seen is before
    local = made(routing_heads=0).train()
    with pytest.raises(InputError, match="no routing heads"):
        local.read_together(x)
    assert all(one.training for one in local.modules())


def test_wrong_input_is_named_at_the_door():
    encoder, x = made(), drawn(2, 9)
    broken = x.clone()
    broken[1, 3] = torch.inf
    for ask in (encoder, encoder.read_together, encoder.summary):
        for given, words in (
            ((x[..., :5],), r"RoutingEncoder got an input of shape \(2, 9, 5\)"),
            ((x[:, :0],), "RoutingEncoder got a sequence of no tokens"),
            ((x, torch.ones(2, 8, dtype=torch.bool)), r"RoutingEncoder got a mask \(2, 8\)"),
            ((broken,), "RoutingEncoder got an infinite number in row 1, token 3"),
        ):
            with pytest.raises(InputError, match=words):
                ask(*given)


def test_padding_that_is_no_number_reaches_no_gradient():
    encoder, x = made().train(), drawn(2, 9)
    mask = torch.arange(9) < torch.tensor([[9], [5]])
    x[1, 7] = torch.nan
    y, loss = encoder.summary(x, mask)
    slopes = torch.autograd.grad(y.square().sum() + loss, list(encoder.parameters()))
    assert all(torch.isfinite(one).all() for one in slopes)
    encoder.eval()
    expected = made().eval()
    for got, other in zip(encoder.read_together(x, mask), expected.read_together(x.nan_to_num(), mask), strict=True):
        assert torch.equal(got, other)


def test_what_is_causal_is_refused():
    with pytest.raises(InputError, match="RoutingTransformerLM"):
        RoutingEncoder(RoutingSettings(dim=16))
    with pytest.raises(InputError, match="layers = 0"):
        made(layers=0)


@pytest.mark.slow
def test_it_learns_what_windows_cannot():
    """Whether a mark at the beginning comes again at the end: windows of 4 see one of the two."""

    def rows(count, seed):
        draw = torch.Generator().manual_seed(seed)
        ids = torch.randint(2, 8, (count, 24), generator=draw)
        ids[:, 0], ids[:, -1] = (torch.randint(2, (count,), generator=draw) for _ in range(2))
        return ids, (ids[:, 0] == ids[:, -1]).long()

    def accuracy(**options):
        torch.manual_seed(1)
        settings = RoutingSettings(**{**SMALL, "causal": False, "selection": "topk", "window": 16, **options})
        encoder, embedding, head = RoutingEncoder(settings, layers=2), torch.nn.Embedding(8, 16), torch.nn.Linear(16, 2)
        weights = [*encoder.parameters(), *embedding.parameters(), *head.parameters()]
        optimiser = torch.optim.Adam(weights, lr=5e-3)
        for step in range(150):
            ids, wanted = rows(32, step)
            y, loss = encoder(embedding(ids))
            total = F.cross_entropy(head(y[:, -1]), wanted) + loss  # the last token tells, and must see the first
            optimiser.zero_grad()
            total.backward()
            optimiser.step()
        encoder.eval()
        with torch.no_grad():
            ids, wanted = rows(256, 10_000)
            return float((head(encoder(embedding(ids)).output[:, -1]).argmax(-1) == wanted).float().mean())

    assert accuracy() > 0.9
    assert accuracy(routing_heads=0) < 0.65
