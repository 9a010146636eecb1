"""The routing encoder: its blocks by definition, both ways, padding, clusters; it learns what windows cannot."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from foveal.errors import InputError
from foveal.nn import RoutingEncoder
from foveal.nn.routing import RoutingSettings

SMALL = {"dim": 16, "heads": 4, "routing_heads": 2, "clusters": 4, "window": 6, "local_window": 4}


def made(layers: int = 2, **options) -> RoutingEncoder:
    torch.manual_seed(0)
    settings = RoutingSettings(**{**SMALL, "causal": False, "selection": "topk", **options})
    return RoutingEncoder(settings, layers=layers).double().eval()


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
def test_clusters_are_those_of_the_layer():
    encoder, x = made(), drawn(2, 25)
    first, last = encoder.read_together(x, layer=0), encoder.read_together(x)
    assert first.shape == last.shape == (2, 2, 25)
    assert torch.equal(first, encoder.blocks[0].mixer.assignments(encoder.blocks[0].before(x)))
    after = encoder.blocks[0](x, None, None, keep=False).x
    assert torch.equal(last, encoder.blocks[1].mixer.assignments(encoder.blocks[1].before(after)))
    with pytest.raises(InputError, match="no routing heads"):
        made(routing_heads=0).read_together(x)


def test_what_is_causal_is_refused():
    with pytest.raises(InputError, match="RoutingTransformerLM"):
        RoutingEncoder(RoutingSettings(dim=16))
    with pytest.raises(InputError, match="layers = 0"):
        made(layers=0)


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
