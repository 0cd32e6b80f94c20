"""Tiled convolutions, compared with the library's over the whole recording."""

import pytest
import torch
from speech_encoders import TOGETHER
from transformers import AutoModel

from spectron.encoders import PretrainedEncoder
from spectron.encoders import tiled_convolution as tiles

TILED = ("wav2vec2_large", "mms", "hubert_large", "wavlm_large", "data2vec", "unispeech_sat")


@pytest.mark.parametrize("family", TILED)
@pytest.mark.parametrize("tile_bytes", [1, 20_000, 60_000, tiles.TILE_BYTES])
def test_tiles_of_any_size_equal_library(tiny_encoder, family, tile_bytes, monkeypatch):
    monkeypatch.setattr(tiles, "TILE_BYTES", tile_bytes)
    torch.manual_seed(5)
    library = AutoModel.from_pretrained(tiny_encoder(family)).eval().feature_extractor
    ours = tiles.TiledConvolutions(library)
    for num_samples in (400, 719, 720, 8011, 16000):
        # A part of a longer batch, whose rows do not lie one behind the other.
        waveform = torch.randn(3, num_samples + 50)[:, 25 : num_samples + 25]
        with torch.no_grad():
            torch.testing.assert_close(ours(waveform), library(waveform), atol=1e-5, rtol=1e-4)


def test_gradients_use_library_layers(tiny_encoder):
    library = AutoModel.from_pretrained(tiny_encoder("wav2vec2_large")).feature_extractor
    ours, waveform = tiles.TiledConvolutions(library), torch.randn(2, 4000)
    gradients = []
    for convolutions in (library, ours):
        library.zero_grad()
        convolutions(waveform).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in convolutions.parameters()])
    assert len(gradients[0]) == len(gradients[1]) == 28
    assert all(torch.equal(theirs, our) for theirs, our in zip(*gradients, strict=True))


@pytest.mark.parametrize("family", TOGETHER)
def test_only_layer_norm_convolutions_are_tiled(tiny_encoder, family):
    model = PretrainedEncoder(str(tiny_encoder(family))).model
    assert isinstance(getattr(model, "feature_extractor", None), tiles.TiledConvolutions) == (family in TILED)
