"""Codec tokenizers and vocoders of transformers' families, against the library's own forward pass."""

from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file
from speech_codecs import CODECS, write_speech_codec
from speech_encoders import write_speech_encoder
from tiny_spectron import ragged_batch, tiny_model

from spectron.contracts import Decoding
from spectron.errors import ConfigError, DataError
from spectron.heads import DelayCodeHead
from spectron.segments import SequenceSettings
from spectron.tokenizers import CodecTokenizer
from spectron.vocoders import CodecVocoder

QUANTISERS = {"dac": "n_quantizers", "mimi": "num_quantizers"}  # the library's names; EnCodec has bandwidths


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("codecs")
    return {family: str(write_speech_codec(family, root / family)) for family in CODECS}


def sound(samples=7001, seed=0):
    return 0.3 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def library(folder, waveform, **settings):
    """Return the library's own result for a waveform (S,)."""
    from transformers import AutoFeatureExtractor, AutoModel

    extractor, model = AutoFeatureExtractor.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    inputs = extractor(waveform.numpy(), sampling_rate=extractor.sampling_rate, return_tensors="pt")
    if model.config.model_type == "dac":
        inputs.pop("padding_mask")
    with torch.no_grad():
        return model(**inputs, **settings)


@pytest.mark.parametrize("family", CODECS)
def test_codes_and_speech_are_those_of_the_library(folders, family):
    codec = CodecTokenizer(folders[family])
    own = library(folders[family], sound(), **({"bandwidth": 2.0} if family == "encodec" else {}))
    codes = codec.encode(sound())
    assert codes.unique().numel() > 3
    assert torch.equal(codes, own.audio_codes.reshape(len(codec.sizes), -1).T)
    theirs = own.audio_values.flatten()
    torch.testing.assert_close(codec.decode(codes)[: len(theirs)], theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", QUANTISERS)
def test_fewer_levels_are_those_of_the_library(folders, family):
    codec = CodecTokenizer(folders[family], levels=2)
    own = library(folders[family], sound(), **{QUANTISERS[family]: 2})
    assert torch.equal(codec.encode(sound()), own.audio_codes[0].T)
    theirs = own.audio_values.flatten()
    torch.testing.assert_close(codec.decode(codec.encode(sound()))[: len(theirs)], theirs, atol=1e-5, rtol=1e-4)


def test_first_levels_and_rest_are_the_levels_of_one_codec(folders):
    whole, coarse, fine = (
        CodecTokenizer(folders["encodec"], **levels) for levels in ({}, {"levels": 1}, {"skip_levels": 1})
    )
    parts = [part.encode(sound()) for part in (coarse, fine)]
    assert torch.equal(torch.cat(parts, 1), whole.encode(sound()))
    assert len({part.fingerprint for part in (whole, coarse, fine)}) == 3


@pytest.mark.parametrize("family", CODECS)
def test_short_recordings_have_the_frames_of_their_length(folders, family):
    codec = CodecTokenizer(folders[family])
    hop = codec.hop_samples
    counts = [len(codec.encode(sound(samples))) for samples in (0, 1, hop - 1)]
    assert counts == [0, 1, 1]


@pytest.mark.parametrize("family", CODECS)
def test_decoded_rows_do_not_depend_on_batch_and_padding(folders, family):
    codec = CodecTokenizer(folders[family])
    vocoder = CodecVocoder(codec.format, codec)
    rows = [codec.encode(sound(samples, seed)) for seed, samples in enumerate((9000, 2000, 0))]
    num_frames = torch.tensor([len(row) for row in rows])
    codes = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=10_000)
    waveform, num_samples = vocoder(codes, num_frames)
    for row, found, length in zip(rows, waveform, num_samples.tolist(), strict=True):
        torch.testing.assert_close(found[:length], codec.decode(row))
        assert abs(length - len(row) * codec.hop_samples) <= 2


def test_precision_of_the_trainer_does_not_change_codes(folders):
    codec = CodecTokenizer(folders["encodec"])
    with torch.autocast("cpu", torch.bfloat16):
        codes = codec.codes_of(sound(seed=17))
    assert torch.equal(codes, codec.encode(sound(seed=17)))


@pytest.mark.parametrize(
    ("changes", "settings", "key"),
    [
        ({}, {"levels": 5}, "levels"),
        ({}, {"levels": 2, "skip_levels": 2}, "skip_levels"),
        ({"audio_channels": 2}, {}, "source"),
        ({"normalize": True}, {}, "source"),  # the loudness is stored beside the codes
        ({"chunk_length_s": 1.0, "overlap": 0.01}, {}, "source"),
    ],
)
def test_codec_that_codes_alone_do_not_describe_is_refused(tmp_path, changes, settings, key):
    with pytest.raises(ConfigError) as raised:
        CodecTokenizer(str(write_speech_codec("encodec", tmp_path, **changes)), **settings)
    assert raised.value.key == key


@pytest.mark.parametrize("fault", ["another model", "no extractor", "a missing tensor", "no config"])
def test_folder_without_a_whole_codec_is_refused(tmp_path, fault):
    if fault == "another model":
        write_speech_encoder("hubert", tmp_path)
    else:
        write_speech_codec("mimi", tmp_path)
    if fault == "no extractor":
        (tmp_path / "preprocessor_config.json").unlink()
    if fault == "no config":
        (tmp_path / "config.json").unlink()
    if fault == "a missing tensor":
        tensors = load_file(tmp_path / "model.safetensors")
        tensors.pop(next(name for name in tensors if "conv" in name))
        save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError) as raised:
        CodecTokenizer(str(tmp_path))
    assert raised.value.key == "source"


def test_vocoder_refuses_another_tokenizer_and_names_both(folders):
    head, vocoder = CodecTokenizer(folders["mimi"], levels=2), CodecTokenizer(folders["mimi"])
    with pytest.raises(ConfigError) as raised:
        CodecVocoder(head.format, vocoder)
    assert raised.value.key == "tokenizer"
    assert all(one.fingerprint[:8] in str(raised.value) for one in (head, vocoder))


def test_vocoder_refuses_a_codec_without_its_first_codebooks(folders):
    codec = CodecTokenizer(folders["dac"], skip_levels=1)
    with pytest.raises(ConfigError) as raised:
        CodecVocoder(codec.format, codec)
    assert raised.value.key == "tokenizer"


def test_code_beyond_the_codebook_is_refused(folders):
    codec = CodecTokenizer(folders["dac"])
    with pytest.raises(DataError):
        CodecVocoder(codec.format, codec)(torch.full((1, 2, 3), 16), torch.tensor([2]))


def test_model_of_codec_codes_trains_and_speaks_without_holding_the_codec(folders, tmp_path):
    codec = CodecTokenizer(folders["encodec"], levels=2)
    model = tiny_model(
        tmp_path,
        encoder=None,
        head=partial(DelayCodeHead, tokenizer=codec),
        vocoder=partial(CodecVocoder, tokenizer=codec),
        sequence=SequenceSettings(prompt="steps", text="none"),
    )
    batch = ragged_batch()
    model.losses(model(batch))["speech"].mean.backward()
    assert all(parameter.grad is None for parameter in codec.parameters())
    assert not [name for name in model.state_dict() if "codebook" in name or name.startswith("vocoder")]
    model.eval()
    spoken = model.continue_speech(batch.prompts, Decoding(max_seconds=0.1, min_seconds=0.1))
    assert torch.isfinite(spoken.waveform).all()
    assert (spoken.num_samples > 0).all()
