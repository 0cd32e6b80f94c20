"""Unit tokenizers: codes against a slow reference, files of codebooks, fingerprints, the store."""

import logging
import sqlite3

import numpy
import pytest
import torch
from safetensors.torch import save_file

from spectron.audio.mel import MelConfig
from spectron.encoders import FrameStackEncoder
from spectron.errors import ConfigError
from spectron.tokenizers import UnitTokenizer
from spectron.tokenizers.codebooks import read_codebooks, write_codebooks

MEL = MelConfig(n_mels=5, frame_shift_ms=25.0)
RATE = 16000


@pytest.fixture
def codebooks(tmp_path):
    generator = torch.Generator().manual_seed(1)
    return str(write_codebooks(torch.randn(3, 6, 10, generator=generator), tmp_path / "books"))


def tokenizer(codebooks, **settings):
    return UnitTokenizer(FrameStackEncoder(stack=2, mel=MEL), codebooks, **settings)


def sound(seconds=0.7, seed=0):
    return torch.randn(round(seconds * RATE), generator=torch.Generator().manual_seed(seed))


def test_codes_are_the_nearest_centroids_of_what_is_left(codebooks):
    units, books = tokenizer(codebooks), read_codebooks(codebooks)
    features = units.features(sound())
    for frame, codes in zip(features, units.encode(sound()), strict=True):
        left = frame
        for book, code in zip(books, codes.tolist(), strict=True):
            distances = [float((left - centroid).square().sum()) for centroid in book]
            assert code == int(numpy.argmin(distances))
            left = left - book[code]


def test_decoded_codes_are_sums_of_centroids_and_padding_is_zero(codebooks):
    units, books = tokenizer(codebooks), read_codebooks(codebooks)
    decoded = units.decode(torch.tensor([[[1, 2, 3], [-1, -1, -1]]]))
    torch.testing.assert_close(decoded[0, 0], books[0, 1] + books[1, 2] + books[2, 3])
    assert not decoded[0, 1].any()


def test_levels_of_two_stages_are_the_levels_of_one(codebooks):
    whole = tokenizer(codebooks).encode(sound())
    first, rest = tokenizer(codebooks, levels=1), tokenizer(codebooks, skip_levels=1)
    assert torch.equal(torch.cat([first.encode(sound()), rest.encode(sound())], 1), whole)
    parts = first.decode(first.encode(sound())) + rest.decode(rest.encode(sound()))
    torch.testing.assert_close(parts, tokenizer(codebooks).decode(whole))


@pytest.mark.parametrize(
    ("settings", "key"), [({"levels": 4}, "levels"), ({"levels": 1, "skip_levels": 1}, "skip_levels")]
)
def test_levels_that_were_not_fitted_are_refused(codebooks, settings, key):
    with pytest.raises(ConfigError) as raised:
        tokenizer(codebooks, **settings)
    assert raised.value.key == key


def test_centroids_of_another_width_are_refused(codebooks):
    with pytest.raises(ConfigError, match=r"10 wide.*20 wide") as raised:
        UnitTokenizer(FrameStackEncoder(stack=4, mel=MEL), codebooks)
    assert raised.value.key == "codebooks"


@pytest.mark.parametrize("name", ["kmeans.bin", "kmeans.joblib", "nothing.safetensors"])
def test_codebooks_that_are_no_safetensors_are_refused(tmp_path, name):
    if name != "nothing.safetensors":
        (tmp_path / name).write_bytes(b"\x80\x04K")
    with pytest.raises(ConfigError):
        read_codebooks(str(tmp_path / name))


def test_tensors_of_another_shape_are_refused(tmp_path):
    save_file({"centroids": torch.zeros(3)}, tmp_path / "flat.safetensors")
    with pytest.raises(ConfigError, match=r"centroids \(3,\)"):
        read_codebooks(str(tmp_path / "flat.safetensors"))


def test_fingerprint_depends_on_all_that_makes_codes_and_on_nothing_else(codebooks, tmp_path):
    copied = str(write_codebooks(read_codebooks(codebooks), tmp_path / "copy"))
    moved = read_codebooks(codebooks)
    moved[2, 5, 9] += 1e-3
    known = tokenizer(codebooks).fingerprint
    assert tokenizer(copied).fingerprint == known
    others = [
        tokenizer(str(write_codebooks(moved, tmp_path / "moved"))),
        tokenizer(codebooks, levels=2),
        tokenizer(codebooks, skip_levels=1),
        tokenizer(codebooks, padding_samples=40),
        UnitTokenizer(FrameStackEncoder(stack=2, mel=MelConfig(n_mels=5, frame_shift_ms=25.0, floor=1e-3)), codebooks),
    ]
    assert len({known, *(other.fingerprint for other in others)}) == 6


def test_stored_codes_are_not_computed_again(codebooks, monkeypatch):
    known = tokenizer(codebooks)(sound()[None], torch.tensor([9000]))[0]
    again = tokenizer(codebooks)
    monkeypatch.setattr(again, "encode", None)
    assert torch.equal(again(sound()[None], torch.tensor([9000]))[0], known)
    assert again.store.path != tokenizer(codebooks, levels=2).store.path


def test_store_that_cannot_be_written_is_announced_once(codebooks, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SPECTRON_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        codes = [tokenizer(codebooks).codes_of(sound(seed=seed)) for seed in (1,) for _ in range(1)]
        units = tokenizer(codebooks)
        codes += [units.codes_of(sound(seed=seed)) for seed in (1, 1, 2)]
    assert torch.equal(codes[0], codes[1])
    assert len(caplog.records) == 2  # one for each tokenizer


def test_damaged_store_is_left_alone(codebooks):
    units = tokenizer(codebooks, padding_samples=7)
    units.store.path.parent.mkdir(parents=True, exist_ok=True)
    units.store.path.write_bytes(b"no database" * 100)
    assert torch.equal(units.codes_of(sound()), units.encode(sound()))
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(units.store.path).execute("SELECT 1 FROM codes")
