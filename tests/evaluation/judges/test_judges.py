"""Judges against stock pipelines and slow loops, batches against single items, and independence from the model."""

import json
import re
from pathlib import Path

import numpy
import pytest
import soundfile
import torch
from places import ROOT
from torch import nn

from spectron.audio.resampling import resample
from spectron.datamodules.synthetic.voices import Prosody, Voice, speak
from spectron.datamodules.synthetic.world import KINDS, facts
from spectron.encoders import FrameStackEncoder
from spectron.errors import ConfigError
from spectron.evaluation.judges import (
    CTCTranscriber,
    Judge,
    PocketSphinxTranscriber,
    ResemblyzerEmbedder,
    TransformersTextScorer,
    require_independence,
)
from spectron.evaluation.metrics import word_errors
from spectron.language_models import CausalLanguageModel, TokenizerSettings
from spectron.training.ctc import CTCModel, CTCModule
from spectron.weights.exporting import export_parts

CPU = torch.device("cpu")
GRAMMAR = ROOT / "experiments/evaluation/answers.jsgf"
NOISE = torch.randn(3, 16000, generator=torch.Generator().manual_seed(1))


def recordings(folder, count: int) -> list[tuple[torch.Tensor, str, str]]:
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["text"]][:count]
    return [
        (
            torch.from_numpy(soundfile.read(folder / row["audio_filepath"], dtype="float32")[0]),
            row["text"],
            row["speaker"],
        )
        for row in rows
    ]


def synthetic() -> list[torch.Tensor]:
    """Make a tone, loud and soft noise, and lengths around one window of 1.6 s and three quarters of it."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(60000, generator=generator) * 0.05
    tone = 0.2 * torch.sin(torch.arange(50000) * 0.1)
    return [
        tone,
        noise,
        noise * 4,
        noise * 0.01,
        noise[:25600],
        noise[:25601],
        noise[:38000],
        noise[:1700],
        tone[:5000],
    ]


def agrees_with_stock(waveforms: list[torch.Tensor]) -> None:
    resemblyzer = pytest.importorskip("resemblyzer")
    stock = resemblyzer.VoiceEncoder("cpu", verbose=False)
    trimmed, whole = ResemblyzerEmbedder(), ResemblyzerEmbedder(trim_silences=False)
    with trimmed.at_work(CPU), whole.at_work(CPU):
        ours, ours_whole = trimmed.embed(waveforms, 16000), whole.embed(waveforms, 16000)
    for row, waveform in enumerate(waveforms):
        samples = waveform.numpy()
        kept = resemblyzer.preprocess_wav(samples)
        # Of nothing, the stock pipeline gives the same embedding for everyone; ours says that there is none.
        expected = stock.embed_utterance(kept) if len(kept) else numpy.full(256, numpy.nan)
        numpy.testing.assert_allclose(ours[row].numpy(), expected, atol=1e-5)
        louder = resemblyzer.audio.normalize_volume(samples, -30, increase_only=True)
        numpy.testing.assert_allclose(ours_whole[row].numpy(), stock.embed_utterance(louder), atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_resemblyzer_cuts_same_silences_as_stock(seed):
    """The input has bursts of noise between silences, down to less than a window of the detector."""
    resemblyzer = pytest.importorskip("resemblyzer")
    draw = numpy.random.default_rng(seed)
    pieces = [
        (draw.normal(size=draw.integers(0, 9000)) * loud).clip(-1, 1)
        for _ in range(12)
        for loud in (draw.choice([0.02, 0.2, 0.9]), 0.0)
    ]
    whole = numpy.concatenate(pieces).astype(numpy.float32)
    embedder = ResemblyzerEmbedder()
    embedder.load()
    for samples in (whole, whole[:479], whole[:480], whole[: len(whole) // 3]):
        expected = resemblyzer.audio.trim_long_silences(samples) if len(samples) >= 480 else samples[:0]
        assert numpy.array_equal(embedder.without_long_silences(samples), expected)


def test_resemblyzer_equals_stock_on_tones_and_noise():
    agrees_with_stock(synthetic())


def test_resemblyzer_equals_stock_on_real_recordings(corpora):
    found = recordings(corpora / "librispeech_speakers", 3)
    agrees_with_stock([waveform for waveform, _, _ in found])


def test_resemblyzer_separates_speakers(corpora):
    """Two halves of one recording are more similar than halves of two speakers."""
    found = [waveform for waveform, _, _ in recordings(corpora / "librispeech_speakers", 5)]
    halves = [half for waveform in found for half in (waveform[: len(waveform) // 2], waveform[len(waveform) // 2 :])]
    judge = ResemblyzerEmbedder()
    with judge.at_work(CPU):
        embeddings = judge.embed(halves, 16000)
    first, second = embeddings[::2], embeddings[1::2]
    same = (first * second).sum(1).min()
    other = (first @ second.T)[~torch.eye(len(found), dtype=torch.bool)].max()
    assert same > other


def test_resemblyzer_of_silence_is_nan():
    judge = ResemblyzerEmbedder()
    with judge.at_work(CPU):
        embeddings = judge.embed([torch.zeros(16000), torch.zeros(0), synthetic()[0]], 16000)
    assert embeddings.isnan().all(1).tolist() == [True, True, False]


def test_pocketsphinx_recognises_real_speech(corpora):
    """About one word in five is wrong on clean read speech; results do not depend on earlier recordings."""
    pytest.importorskip("pocketsphinx")
    found = [(waveform[: 6 * 16000], text) for waveform, text, _ in recordings(corpora / "librispeech_mini", 2)]
    judge = PocketSphinxTranscriber()
    waveforms = [waveform for waveform, _ in found]
    with judge.at_work(CPU):
        heard = judge.transcribe(waveforms, 16000)
        judge.transcribe([NOISE.flatten() * 0.3], 16000)
        again = judge.transcribe([waveforms[1], torch.zeros(16000), torch.zeros(0)], 16000)
    assert again == [heard[1], "", ""]
    for text, (_, full) in zip(heard, found, strict=True):
        # Six seconds are cut from a longer text: it counts how much of what was heard is really there.
        spoken = " ".join(full.split()[: len(text.split())])
        errors, words = word_errors(spoken, text)
        assert words >= 10
        assert errors / words < 0.5


def test_pocketsphinx_with_grammar_returns_its_sentences(tmp_path):
    pytest.importorskip("pocketsphinx")
    judge = PocketSphinxTranscriber(str(GRAMMAR), {"oink": "OY NG K"}, dither=True)
    said = [fact.answer for fact in facts()[::6]]
    waveforms = [speak(text, Voice("en-us", "m6", "M"), Prosody()).waveform for text in said]
    with judge.at_work(CPU):
        heard = judge.transcribe(waveforms, 16000)
        assert judge.transcribe(waveforms[::-1], 16000)[::-1] == heard, "dithered alike, whatever was heard before"
        assert judge.transcribe([NOISE[0] * 0, waveforms[0]], 16000) == ["", heard[0]]
    assert sum(text == sentence for text, sentence in zip(heard, said, strict=True)) > len(said) * 2 / 3
    assert (
        len(
            {word for text in heard for word in text.split()}
            - {word for fact in facts() for word in fact.answer.split()}
        )
        == 0
    )
    assert judge.fingerprint() != PocketSphinxTranscriber().fingerprint()
    with pytest.raises(
        ConfigError, match=r"^grammar: .*its dictionary lacks oink: add their phones to `pronunciations`"
    ):
        PocketSphinxTranscriber(str(GRAMMAR)).prepare()
    (tmp_path / "no.jsgf").write_text("the cow says ( moo")
    with pytest.raises(ConfigError, match=r"no\.jsgf cannot be used, it is no JSGF"):
        PocketSphinxTranscriber(str(tmp_path / "no.jsgf")).prepare()
    with pytest.raises(ConfigError, match=r"^grammar: there is no file none\.jsgf"):
        PocketSphinxTranscriber("none.jsgf")


def test_answer_grammar_covers_every_entity_and_answer():
    rules = dict(line.rstrip(";").split(" = ", 1) for line in GRAMMAR.read_text().splitlines() if line.startswith("<"))
    assert {f"<{kind}>" for kind in KINDS} == set(rules)
    for kind, about in KINDS.items():
        entities, golds = (
            {getattr(fact, slot) for fact in facts() if fact.kind == kind} for slot in ("entity", "gold")
        )
        pattern = re.escape(about.answer.format("!", "?")).replace("!", r"\( (.*) \)").replace(r"\?", r"\( (.*) \)")
        match = re.fullmatch(pattern, rules[f"<{kind}>"])
        assert [set(group.split(" | ")) for group in match.groups()] == [entities, golds]


CTC = {
    "task": "spectron.training.CTCModule",
    "model": {
        "encoder": {"class_path": "spectron.encoders.FrameStackEncoder", "init_args": {"output_dim": 64}},
        "characters": "abc",
    },
}


@pytest.fixture
def exported(tmp_path) -> tuple[CTCModel, str]:
    torch.manual_seed(0)
    model = CTCModel(FrameStackEncoder(64), "abc")
    with torch.no_grad():  # centred, so that untrained weights spell something
        mean = model.encoder(NOISE, torch.full((3,), 16000))[0].mean((0, 1))
        model.output.bias.copy_(-model.output.weight @ mean)
    export_parts(model, CTC, tmp_path / "ctc")
    return model.eval(), str(tmp_path / "ctc")


def test_ctc_transcriber_in_batch_equals_exported_model(exported):
    model, folder = exported
    judge = CTCTranscriber(folder)
    waveforms = [NOISE[0], NOISE[1, :9000], NOISE[2, :3000]]
    with judge.at_work(CPU):
        together = judge.transcribe(waveforms, 16000)
        slower = judge.transcribe([NOISE[0]], 8000)
    assert together == [model.transcribe(row[None], torch.tensor([len(row)]))[0] for row in waveforms]
    assert len(together[0]) > len(together[2]) > 0
    faster = resample(NOISE[0], 8000, 16000)
    assert slower == model.transcribe(faster[None], torch.tensor([len(faster)]))


def test_ctc_transcriber_with_lexicon_returns_its_words(exported, tmp_path):
    _, folder = exported
    (tmp_path / "words.txt").write_text("cab\nab\n")
    with pytest.raises(ConfigError) as raised:
        CTCTranscriber(folder, "no.txt")
    assert raised.value.key == "lexicon"
    with pytest.raises(ConfigError, match="a recogniser with a space") as raised:
        CTCTranscriber(folder, str(tmp_path / "words.txt")).prepare()
    assert raised.value.key == "lexicon"
    config = Path(folder) / "config.yaml"
    config.write_text(config.read_text().replace("characters: abc", "characters: ' ab'"))
    (tmp_path / "words.txt").write_text("ba\nab\n")
    judge, free = CTCTranscriber(folder, str(tmp_path / "words.txt")), CTCTranscriber(folder)
    with judge.at_work(CPU):
        heard = judge.transcribe([NOISE[0], NOISE[1, :9000]], 16000)
        assert [judge.transcribe([row], 16000)[0] for row in (NOISE[0], NOISE[1, :9000])] == heard
    assert set(" ".join(heard).split()) <= {"ab", "ba"}
    assert "ab" in heard[0] or "ba" in heard[0]
    assert judge.fingerprint()["weights_sha256"] != free.fingerprint()["weights_sha256"], (
        "the words determine the output like the weights"
    )


def test_ctc_transcriber_refuses_other_model(exported, monkeypatch):
    judge = CTCTranscriber(exported[1])
    monkeypatch.setattr(
        CTCModule, "set_up", lambda module, model, optimisation: setattr(module, "model", model.encoder)
    )
    path = Path(judge.folder) / "config.yaml"
    path.write_text(path.read_text().split("weights:")[0])
    with pytest.raises(ConfigError, match="FrameStackEncoder") as raised:
        judge.prepare()
    assert raised.value.key == "folder"


@pytest.fixture
def language_model(tmp_path) -> str:
    text = tmp_path / "text.txt"
    text.write_text("the cow says moo\nthe capital of france is paris\n")
    torch.manual_seed(0)
    config = {
        "model_type": "llama",
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    CausalLanguageModel(
        config={**config, "max_position_embeddings": 9}, tokenizer=TokenizerSettings(str(text), 300)
    ).save(tmp_path / "lm")
    return str(tmp_path / "lm")


def slow_score(judge: TransformersTextScorer, text: str, room: int) -> tuple[float, int]:
    """Score a text with one call of the model per token."""
    ids, nll = judge.tokenizer(text, add_special_tokens=False)["input_ids"], 0.0
    for place, token in enumerate(ids):
        past = ids[place - place % room : place]
        logits = judge.lm(input_ids=torch.tensor([[judge.begin_id, *past]])).logits[0, -1]
        nll -= float(logits.log_softmax(0)[token])
    return nll, len(ids)


def test_text_scores_equal_slow_loop(language_model):
    """The longest text exceeds the model's nine positions and is scored in pieces of eight tokens."""
    judge = TransformersTextScorer(language_model)
    texts = [
        "the cow says moo",
        "moo",
        "",
        " paris ",
        "the capital of france is paris and the cow says what the cow says",
    ]
    with judge.at_work(CPU):
        scores = judge.score(texts)
        for text, (nll, num_tokens) in zip(texts, scores, strict=True):
            expected_nll, expected_tokens = slow_score(judge, text.strip(), room=8)
            assert num_tokens == expected_tokens
            assert nll == pytest.approx(expected_nll, rel=1e-5)
        assert max(count for _, count in scores) > 8
        assert scores[2] == (0.0, 0)
        assert judge.score([]) == []


def test_text_scorer_prefers_english(corpora):
    judge = TransformersTextScorer(str(corpora / "stories260K" / "hf"))
    with judge.at_work(CPU):
        (story, tokens), (salad, others) = judge.score(
            ["Once upon a time, there was a little girl named Lily.", "girl a named Upon, little was time once."]
        )
    assert story / tokens < 2.0 < salad / others


def test_text_scorer_without_start_token_uses_end_token(language_model):
    path = Path(language_model) / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    settings.pop("bos_token", None)
    path.write_text(json.dumps(settings))
    judge = TransformersTextScorer(language_model)
    judge.prepare()
    assert judge.tokenizer.bos_token_id is None
    assert judge.begin_id == judge.tokenizer.eos_token_id


def test_missing_source_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"source: there is no folder .*nothing"):
        TransformersTextScorer("./nothing")
    with pytest.raises(ConfigError, match=r"contains no \*.safetensors but no weights at all"):
        TransformersTextScorer(str(tmp_path)).prepare()
    with pytest.raises(ConfigError, match=r"nothing has no config.yaml") as raised:
        CTCTranscriber(str(tmp_path / "nothing"))
    assert raised.value.key == "folder"


def test_judge_at_work_has_single_precision_and_no_gradients(language_model):
    judge = TransformersTextScorer(language_model)
    judge.prepare()
    assert not any(weights.requires_grad for weights in judge.parameters())
    with torch.autocast("cpu", torch.bfloat16), judge.at_work(CPU):
        assert not torch.is_autocast_enabled("cpu")
        assert torch.is_inference_mode_enabled()
        assert judge.lm(input_ids=torch.tensor([[1]])).logits.dtype == torch.float32


class LateJudge(Judge):
    title = "LateJudge"
    gives = frozenset({"nothing"})

    def assess(self, samples):
        return [{} for _ in samples]

    def load(self) -> None:
        self.layer = nn.Linear(2, 2)


class BareJudge(Judge):
    title = "BareJudge"
    gives = frozenset({"nothing"})

    def assess(self, samples):
        return [{} for _ in samples]

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.layer.weight = nn.Parameter(weights)

    def load(self) -> None:
        pass


def test_weights_loaded_in_inference_mode_can_move_later():
    judge = LateJudge()
    with torch.inference_mode():  # as Lightning validates
        judge.prepare()
        with judge.at_work(CPU):
            pass
    assert not any(weights.is_inference() for weights in judge.parameters())


def test_judge_that_shares_weights_is_refused():
    weights = torch.randn(40, 30)
    model = nn.ModuleDict({"encoder": nn.Linear(30, 40), "norm": nn.Linear(30, 40)})
    model["norm"].weight = nn.Parameter(torch.ones(40, 30))
    require_independence([BareJudge(weights), BareJudge(torch.ones(40, 30))], model)
    model["encoder"].weight = nn.Parameter(weights.double())
    with pytest.raises(
        ConfigError, match=r"BareJudge shares weights .* layer.weight equals the model's encoder.weight"
    ):
        require_independence([BareJudge(weights.clone())], model)
