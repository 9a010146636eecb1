"""Profiles: which is taken for a model, and what is refused."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace

import pytest
from tiny import FULL, HEADS

from foveal.attention import profiles
from foveal.attention.profiles import Profile, architecture_of, last_layer, profile_of, read, save
from foveal.errors import InputError


def profile(language_model, **other) -> Profile:
    fields = {
        "model": "tiny",
        "fingerprint": language_model.fingerprint,
        "architecture": architecture_of(language_model.model.config),
        "heads": ((1, 3), (0, 2), (1, 0)),
        "measured": {"recall": 0.1 + 0.2},
    }
    return Profile(**{**fields, **other})


@pytest.fixture
def language_model(attention_models, kind):
    return attention_models[kind]


def test_heads_by_layer_and_depth(language_model):
    assert profile(language_model).by_layer == {0: [2], 1: [0, 3]}
    assert profile(language_model).depth == 2


def test_an_architecture_is_named_by_its_sizes(attention_models):
    names = [architecture_of(one.model.config) for one in attention_models.values()]
    assert names == ["qwen2-3x4-32", "gemma3_text-4x4-32"]


def test_without_a_profile_it_is_the_last_layer_that_sees_all(language_model, kind, tmp_path):
    found = profile_of(language_model, tmp_path)
    assert found == profile_of(language_model) == last_layer(language_model)
    assert found.heads == tuple((FULL[kind][-1], head) for head in range(HEADS))
    assert not found.calibrated


def test_a_last_layer_that_slides_is_passed_over(attention_models):
    config = attention_models["gemma"].model.config
    kinds = config.layer_types
    config.layer_types = ["full_attention", "full_attention", "sliding_attention", "sliding_attention"]
    try:
        assert last_layer(attention_models["gemma"]).depth == 2
    finally:
        config.layer_types = kinds


def test_saved_and_found_again(language_model, tmp_path):
    saved = profile(language_model)
    path = save(saved, tmp_path)
    assert path.is_relative_to(tmp_path / "models" / "profiles")
    assert profile_of(language_model, tmp_path) == saved == read(path.read_text(), str(path))
    assert profile_of(language_model) != saved


def test_that_of_the_files_wins_over_that_of_the_architecture(language_model, tmp_path):
    own, alike = profile(language_model), profile(language_model, fingerprint="f" * 64, heads=((0, 0),))
    save(own, tmp_path)
    newest = save(alike, tmp_path)
    os.utime(newest, (2**31, 2**31))
    assert profile_of(language_model, tmp_path) == own


def test_of_two_that_are_only_alike_the_newer_counts(language_model, tmp_path):
    older, newer = (profile(language_model, fingerprint=mark * 64, heads=((0, 1),)) for mark in "ab")
    for place, one in enumerate((newer, older)):
        os.utime(save(one, tmp_path), (2000 - place, 2000 - place))
    assert profile_of(language_model, tmp_path) == newer


def test_one_of_another_architecture_is_not_taken(language_model, tmp_path):
    save(profile(language_model, fingerprint="f" * 64, architecture="other-1x1-1"), tmp_path)
    assert profile_of(language_model, tmp_path) == last_layer(language_model)


def test_a_profile_names_heads(language_model):
    with pytest.raises(InputError, match="names no heads"):
        replace(profile(language_model), heads=())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        '{"version": 1}',
        '{"version": 1, "heads": 3}',
        '{"version": 1, "heads": [[1]], "model": "m"}',
    ],
)
def test_what_is_no_profile_is_refused(text):
    with pytest.raises(InputError, match=r"here\.json is no profile"):
        read(text, "here.json")


def test_one_of_another_version_is_refused(language_model):
    with pytest.raises(InputError, match="another version of Foveal"):
        read(json.dumps({"version": 2, **asdict(profile(language_model))}), "here.json")


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe\x00", b'{"version": 2, "heads": [[0, 1]]}', None])
def test_one_that_is_damaged_stops_no_other(language_model, tmp_path, caplog, damage):
    saved = profile(language_model)
    save(saved, tmp_path)
    path = tmp_path / "models" / "profiles" / f"a{damage!r}.json".replace("\\", "")
    path.mkdir() if damage is None else path.write_bytes(damage)
    for _ in range(2):
        assert profile_of(language_model, tmp_path) == saved
    assert [record.message.count(str(path)) > 0 for record in caplog.records] == [True]
    (path.parent / f"{saved.architecture}-{saved.fingerprint[:12]}.json").write_text("{")
    assert profile_of(language_model, tmp_path) == last_layer(language_model)


@pytest.mark.parametrize(
    ("architecture", "layers"), [("qwen2-24x14-896", range(24)), ("gemma3_text-18x4-640", range(5, 18, 6))]
)
def test_the_offline_models_have_shipped_profiles(language_model, architecture, layers, monkeypatch):
    """Taken by architecture, whatever the weights; they name heads of layers that see the whole text."""
    monkeypatch.setattr(profiles, "architecture_of", lambda _: architecture)
    found = profile_of(language_model)
    assert (found.architecture, found.calibrated) == (architecture, True)
    assert 8 <= len(found.heads) <= 12
    assert {layer for layer, _ in found.heads} <= set(layers)
    assert found.depth < max(layers)
    assert 1 < found.measured["rank"] < found.measured["rank_last_layer"]
