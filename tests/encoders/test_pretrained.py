"""Pre-trained encoders against the library's own processor and model, one recording at a time."""

import pytest
import torch
import transformers
from speech_encoders import FAMILIES, LAYERS, ONE_BY_ONE

from spectron.encoders import PretrainedEncoder

RATE = 16000
# One of every way in which layers are cut off and norms follow them.
LAYERED = ("wav2vec2", "wavlm_large", "w2v_bert", "whisper", "sew", "adapter", "speech_to_text")


def recordings():
    """Return ragged, speech-like audio of 9 ms to 2.6 s: (B, S) with noise in the padding, and (B,) lengths."""
    torch.manual_seed(3)
    num_samples = torch.tensor([RATE * 13 // 5, 17203, 9000, 6003, 150])
    time = torch.arange(int(num_samples.max())) / RATE
    waveform = 0.3 * torch.randn(5, len(time)) * (torch.sin(5 * time) ** 2 + 0.01) + 0.2 * torch.sin(900 * time) + 0.05
    return waveform, num_samples


def library(folder, layer="last", audio=None):
    """What the library's own feature extractor and model give for a recording alone: (U, D)."""
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    inputs = extractor(audio.numpy(), sampling_rate=RATE, return_tensors="pt")
    model = transformers.AutoModel.from_pretrained(folder).eval()
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True)
    return (output.last_hidden_state if layer == "last" else output.hidden_states[layer])[0]


@pytest.mark.parametrize(
    ("family", "layer"),
    [(family, "last") for family in FAMILIES] + [(family, layer) for family in LAYERED for layer in (0, 1, LAYERS)],
)
def test_every_row_of_a_padded_batch_is_what_the_library_gives_for_it_alone(tiny_encoder, family, layer):
    folder = tiny_encoder(family)
    encoder = PretrainedEncoder(str(folder), layer=layer).eval()
    waveform, num_samples = recordings()
    with torch.no_grad():
        features, num_steps = encoder(waveform, num_samples)
    assert encoder.row_by_row == (family in ONE_BY_ONE and (family, layer == "last") != ("adapter", False))
    for row in range(4):
        audio = waveform[row, : num_samples[row]]
        for begin in range(0, len(audio), 2 * RATE) if "whisper" in family else [0]:
            window = audio[begin : begin + 2 * RATE] if "whisper" in family else audio
            expected = library(folder, layer, window)
            first = begin // 320
            steps = min(int(num_steps[row]) - first, len(expected))
            assert steps > 0
            # The library pads its input to a whole window and to an even number of frames, and masks the padding.
            assert len(expected) - steps in (
                [0, 1] if family == "w2v_bert" else range(100) if "whisper" in family else [0]
            )
            torch.testing.assert_close(features[row, first : first + steps], expected[:steps], atol=1e-4, rtol=1e-4)
