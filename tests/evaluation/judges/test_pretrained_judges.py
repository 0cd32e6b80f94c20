"""Judges by name or folder against the libraries' own pipelines, and batches against single recordings."""

import hashlib

import numpy
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from speech_judges import CTC, SPEAKERS, WRITING
from speechbrain_folders import write_speechbrain_folder

from spectron.audio.resampling import resample
from spectron.encoders import SpeechBrainEncoder
from spectron.errors import ConfigError
from spectron.evaluation.judges import (
    DNSMOSPredictor,
    PocketSphinxTranscriber,
    ResemblyzerEmbedder,
    SpeechBrainSpeakerEmbedder,
    TransformersSpeakerEmbedder,
    TransformersTranscriber,
    transformers_transcriber,
)
from spectron.evaluation.judges.chunking import alike, by_pieces, cut

CPU = torch.device("cpu")
RATE = 16000
NOISE = 0.1 * torch.randn(3 * RATE, generator=torch.Generator().manual_seed(1)) * torch.linspace(0.1, 3, 3 * RATE)
# Loud and soft, long and short; a click, digital silence and nothing.
SPEECH = [NOISE, NOISE[:30000] * 0.01, NOISE[1000:20000], NOISE[:8000]]
NO_SPEECH = [NOISE[:160], torch.zeros(RATE), torch.zeros(0)]


@pytest.fixture(autouse=True)
def brief_writing(monkeypatch):
    monkeypatch.setattr(transformers_transcriber, "MOST_TOKENS", 8)


def library_text(folder, family: str, waveform: torch.Tensor) -> str:
    """Run the library's own pipeline, or its processor and model, on one recording."""
    if (
        family == "w2v_bert"
    ):  # the pipeline also spells the last step where that is half padding, which the library masks
        extractor, model = (
            transformers.AutoFeatureExtractor.from_pretrained(folder),
            transformers.AutoModelForCTC.from_pretrained(folder),
        )
        inputs = extractor(waveform.numpy(), sampling_rate=RATE, return_tensors="pt")
        steps = model.eval()(**inputs).logits.argmax(-1)[inputs["attention_mask"].bool()]
        return transformers.AutoTokenizer.from_pretrained(folder).decode(steps).strip()
    if family == "whisper":  # the pipeline wants Whisper's own tokenizer, of fifty thousand tokens
        extractor, model = (
            kind.from_pretrained(folder)
            for kind in (transformers.AutoFeatureExtractor, transformers.AutoModelForSpeechSeq2Seq)
        )
        tokens = model.generate(**extractor(waveform.numpy(), sampling_rate=RATE, return_tensors="pt"))
        return transformers.AutoTokenizer.from_pretrained(folder).decode(tokens[0], skip_special_tokens=True).strip()
    pipe = transformers.pipeline("automatic-speech-recognition", model=str(folder), device="cpu")
    options = {} if family in CTC else {"generate_kwargs": {"num_beams": 1, "max_new_tokens": 8}}
    return pipe(waveform.numpy(), **options)["text"].strip()


@pytest.mark.parametrize("family", [*CTC, *WRITING])
def test_recogniser_in_batch_equals_library_pipeline(tiny_judge, family):
    judge = TransformersTranscriber(str(tiny_judge(family)))
    with judge.at_work(CPU):
        heard = judge.transcribe(SPEECH + NO_SPEECH, RATE)
    assert heard == [library_text(tiny_judge(family), family, waveform) for waveform in SPEECH] + ["", "", ""]
    assert len(set(heard[:4])) > 1
    assert len(heard[0]) > 5


@pytest.mark.parametrize("family", ["wav2vec2_large", "whisper"])
def test_long_recording_is_recognised_in_pieces(tiny_judge, family):
    """Seventy seconds with two pauses: the text joins the pieces between the pauses."""
    parts = [NOISE.repeat(10)[: seconds * RATE] for seconds in (25, 22, 23)]
    pause = torch.zeros(RATE)
    long = torch.cat([parts[0], pause, parts[1], pause, parts[2]])
    judge = TransformersTranscriber(str(tiny_judge(family)))
    with judge.at_work(CPU):
        pieces = list(cut(long, RATE, 30))
        assert [round(len(piece) / RATE) for piece in pieces] == [25, 23, 24]
        assert judge.transcribe([long], RATE) == [" ".join(judge.transcribe(pieces, RATE))]


def test_whisper_output_language_is_set(tiny_judge, tmp_path):
    model = transformers.WhisperForConditionalGeneration.from_pretrained(tiny_judge("whisper"))
    for part in (transformers.AutoTokenizer, transformers.AutoFeatureExtractor):
        part.from_pretrained(tiny_judge("whisper")).save_pretrained(tmp_path)
    known = {
        "is_multilingual": True,
        "lang_to_id": {"<|en|>": 4, "<|de|>": 5},
        "task_to_id": {"transcribe": 6},
        "no_timestamps_token_id": 7,
    }
    model.generation_config._from_model_config = False  # or the library would drop what follows
    for name, value in known.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(tmp_path)
    texts = []
    for language in ("en", "de"):
        judge = TransformersTranscriber(str(tmp_path), language=language)
        with judge.at_work(CPU):
            told = judge.recogniser.settings
            texts += judge.transcribe([NOISE], RATE)
        assert told["language"] == language
    assert texts[0] != texts[1]
    with pytest.raises(ConfigError, match=r"^language: .* supports de, en, not 'fr'"):
        TransformersTranscriber(str(tmp_path), language="fr").prepare()


@pytest.mark.parametrize("family", SPEAKERS)
def test_speaker_head_in_batch_equals_library(tiny_judge, family):
    folder = tiny_judge(family)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    model = transformers.AutoModelForAudioXVector.from_pretrained(folder).eval()
    judge = TransformersSpeakerEmbedder(str(folder))
    with judge.at_work(CPU):
        together = judge.embed(SPEECH + NO_SPEECH, RATE)
        alone = torch.cat([judge.embed([waveform], RATE) for waveform in SPEECH])
    with torch.no_grad():
        inputs = [extractor(waveform.numpy(), sampling_rate=RATE, return_tensors="pt") for waveform in SPEECH]
        expected = torch.nn.functional.normalize(torch.cat([model(**row).embeddings for row in inputs]), dim=1)
    torch.testing.assert_close(together[:4], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(together[:4], alone, atol=1e-5, rtol=0)
    assert together.isnan().all(1).tolist() == [False] * 4 + [True] * 3
    assert (expected[0] - expected[3]).abs().max() > 1e-3


def test_speechbrain_embedder_equals_speechbrain(tmp_path):
    folder = str(write_speechbrain_folder("ecapa", tmp_path / "ecapa"))
    encoder = SpeechBrainEncoder(folder, RATE).eval()  # equal to speechbrain's own, by the tests of the encoders
    judge = SpeechBrainSpeakerEmbedder(folder, sample_rate_hz=RATE)
    with judge.at_work(CPU):
        embeddings = judge.embed(SPEECH + NO_SPEECH, RATE)
        slower = judge.embed([NOISE], 8000)
        expected = torch.cat(
            [encoder(row[None], torch.tensor([len(row)]))[0][0] for row in [*SPEECH, resample(NOISE, 8000, RATE)]]
        )
    expected = torch.nn.functional.normalize(expected, dim=1)
    torch.testing.assert_close(torch.cat([embeddings[:4], slower]), expected, atol=1e-5, rtol=0)
    assert embeddings[4:].isnan().all()
    sequence = SpeechBrainSpeakerEmbedder(str(write_speechbrain_folder("crdnn", tmp_path / "crdnn")))
    with pytest.raises(ConfigError, match=r"^source: .* returns a sequence, not one vector"):
        sequence.prepare()


def test_long_embedding_is_mean_weighted_by_length(tiny_judge):
    long = NOISE.repeat(15) * torch.linspace(0.1, 1, 45 * RATE)
    judge = TransformersSpeakerEmbedder(str(tiny_judge("wavlm_speaker")))
    with judge.at_work(CPU):
        pieces = list(cut(long, RATE, 30))
        weights = torch.tensor([float(len(piece)) for piece in pieces])
        expected = torch.nn.functional.normalize(weights @ judge.embed(pieces, RATE), dim=0)
        torch.testing.assert_close(judge.embed([long], RATE)[0], expected, atol=1e-6, rtol=0)
    assert len(pieces) == 2


def test_opinion_scores_equal_speechmos():
    dnsmos = pytest.importorskip("speechmos.dnsmos")
    pytest.importorskip("onnxruntime")
    waveforms = [NOISE, (NOISE.repeat(4) * 9)[: 11 * RATE]]
    expected = [dnsmos.run(waveform.clamp(-1, 1).numpy(), RATE) for waveform in waveforms]
    for scale, column in DNSMOSPredictor.COLUMNS.items():
        judge = DNSMOSPredictor(scale)
        with judge.at_work(CPU):
            scores = judge.rate(waveforms + NO_SPEECH, RATE)
        numpy.testing.assert_allclose(scores[:2], [values[column] for values in expected], rtol=1e-6)
        assert scores[2:] == [None] * 3
    assert len(set(judge.fingerprint()["weights_sha256"])) > 1


def test_missing_package_names_what_to_install(monkeypatch):
    monkeypatch.setattr("spectron.errors.find_spec", lambda name: None)
    judge = DNSMOSPredictor()
    cure = "pip install 'spectron-slm[judges]' (missing: speechmos, onnxruntime)"
    assert judge.missing() == f"DNSMOSPredictor needs the extra judges: {cure}"
    with pytest.raises(ConfigError, match=r"pip install 'spectron-slm\[judges\]'"):
        judge.prepare()


def test_encoder_or_text_model_is_refused_as_recogniser(tiny_encoder, tiny_language_model, tmp_path):
    folder = tiny_encoder("wav2vec2")
    with pytest.raises(ConfigError, match=r"lacks 2 tensors of its Wav2Vec2ForCTC \(lm_head.bias, lm_head.weight"):
        TransformersTranscriber(str(folder)).prepare()
    with pytest.raises(ConfigError, match=r"lacks \d+ tensors of its Wav2Vec2ForXVector \(.*which would be random"):
        TransformersSpeakerEmbedder(str(folder)).prepare()
    with pytest.raises(ConfigError, match=r"^source: .* is a 'llama' model, which is not a supported recogniser"):
        TransformersTranscriber(str(tiny_language_model("llama"))).prepare()


def test_hub_model_outside_cache_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    judge = TransformersTranscriber("someone/recogniser", revision="v2")
    assert judge.title == "TransformersTranscriber(someone/recogniser@v2, en, greedy)"
    why = judge.missing()
    assert why.startswith("source: 'someone/recogniser' at revision 'v2' is not available")
    with pytest.raises(ConfigError, match=r"hf download someone/recogniser"):
        judge.prepare()


def test_fingerprint_depends_only_on_weights(tiny_judge, tmp_path):
    folder = tiny_judge("wavlm_speaker")
    first, again = (TransformersSpeakerEmbedder(str(folder)).fingerprint() for _ in range(2))
    assert first == again
    assert first["title"] == f"TransformersSpeakerEmbedder({folder})"
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert TransformersSpeakerEmbedder(str(tmp_path)).fingerprint()["weights_sha256"] == first["weights_sha256"]
    weights = load_file(tmp_path / "model.safetensors")
    weights["feature_extractor.bias"][0] += 1e-3
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert TransformersSpeakerEmbedder(str(tmp_path)).fingerprint()["weights_sha256"] != first["weights_sha256"]


def test_fingerprint_equals_hand_made_hash(monkeypatch):
    """The judge has two tensors and no file."""
    judge = ResemblyzerEmbedder()
    monkeypatch.setattr(judge, "load", lambda: None)
    judge.b = torch.nn.Parameter(torch.tensor([[1.0, 2.0]]))
    judge.register_buffer("a", torch.tensor(3))
    by_hand = hashlib.sha256(
        b"a torch.int64 []\n" + numpy.int64(3).tobytes() + b"b torch.float32 [1, 2]\n" + numpy.float32([1, 2]).tobytes()
    )
    assert judge.fingerprint()["weights_sha256"] == by_hand.hexdigest()


def test_fingerprint_covers_weight_files():
    pytest.importorskip("pocketsphinx")
    judge = PocketSphinxTranscriber()
    assert {"mdef", "en-us.lm.bin", "cmudict-en-us.dict"} <= {path.name for path in judge.weight_files()}
    assert judge.fingerprint() == PocketSphinxTranscriber().fingerprint()


@pytest.mark.parametrize("seed", range(20))
def test_pieces_join_to_whole_and_fit_limit(seed):
    generator = torch.Generator().manual_seed(seed)
    rate = (800, 1600)[seed % 2]
    lengths = (torch.rand(seed, generator=generator) ** 2 * 7 * rate).int().tolist()
    waveforms = [torch.randn(length, generator=generator) for length in [*lengths, 0, 1, 2 * rate, 2 * rate + 1]]
    for waveform in waveforms:
        pieces = list(cut(waveform, rate, 2.0))
        assert torch.equal(torch.cat(pieces), waveform)
        assert all(len(piece) <= 2 * rate for piece in pieces)
    groups = list(alike([len(waveform) for waveform in waveforms], 3 * rate))
    assert sorted(place for group in groups for place in group) == list(range(len(waveforms)))
    assert all(
        len(group) == 1 or len(group) * max(len(waveforms[place]) for place in group) <= 3 * rate for group in groups
    )
    found = by_pieces(waveforms, rate, rate, CPU, lambda pieces: [float(piece.sum()) for piece in pieces], 2.0)
    for waveform, heard in zip(waveforms, found, strict=True):
        if len(waveform) > rate / 2:
            assert sum(num_samples for num_samples, _ in heard) >= len(waveform) - 0.1 * rate
        assert all(num_samples >= 0.1 * rate for num_samples, _ in heard)


@pytest.mark.parametrize(("together_seconds", "most"), [(None, 12), (120.0, 120), (4.0, 4)])
def test_by_pieces_respects_batch_limit(together_seconds, most):
    waveforms, given = [NOISE[: 2 * RATE]] * 80, []
    by_pieces(
        waveforms,
        RATE,
        RATE,
        CPU,
        lambda pieces: given.append(len(pieces)) or pieces,
        together_seconds=together_seconds,
    )
    assert sum(given) == 80
    assert max(given) == most // 2


def test_whisper_batches_short_recordings(tiny_judge, monkeypatch):
    judge, given = TransformersTranscriber(str(tiny_judge("whisper"))), []
    with judge.at_work(CPU):
        write = judge.recogniser.write
        monkeypatch.setattr(judge.recogniser, "write", lambda some: given.append(len(some)) or write(some))
        judge.transcribe([NOISE[: 2 * RATE]] * 20, RATE)
    assert given == [16, 4], "batches of windows, which are full whatever stands in them"


def test_cut_is_in_pause():
    waveform = NOISE.repeat(4)[: 10 * RATE].clone()
    waveform[7 * RATE : 7 * RATE + 4800] *= 0.01
    first = next(cut(waveform, RATE, 9.0))
    assert 7.0 < len(first) / RATE < 7.3
