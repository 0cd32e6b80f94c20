"""One test per contract: it finds every implementation in the packages; TINY builds each at a small size."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from functools import cache, partial

import pytest
import torch
from language_models import write_language_model
from speech_codecs import write_speech_codec
from speech_encoders import write_speech_encoder
from speech_judges import write_speech_judge
from speechbrain_folders import write_speechbrain_folder
from torch import nn
from vocoders import write_authors_hifigan, write_unit_hifigan

from spectron import encoders, heads, language_models, segments, tokenizers, vocoders
from spectron.audio.codes import CodeFormat
from spectron.audio.mel import MelConfig
from spectron.conformance import examine, suite_of
from spectron.contracts import LanguageModel, SpeechEncoder, SpeechHead, Vocoder
from spectron.encoders import (
    ConformerEncoder,
    ConformerSettings,
    ExportedEncoder,
    FrameStackEncoder,
    PretrainedEncoder,
    SpeechBrainEncoder,
)
from spectron.evaluation import judges, metrics
from spectron.evaluation.judges import (
    CTCTranscriber,
    DNSMOSPredictor,
    Judge,
    PocketSphinxTranscriber,
    ResemblyzerEmbedder,
    SpeechBrainSpeakerEmbedder,
    TransformersSpeakerEmbedder,
    TransformersTextScorer,
    TransformersTranscriber,
)
from spectron.evaluation.metrics import (
    MelCepstralDistance,
    MelDistance,
    PitchError,
    SpokenMetric,
    StftDistance,
    all_metrics,
)
from spectron.heads import (
    DelayCodeHead,
    DepthCodeHead,
    FlatCodeHead,
    LatentSamplingHead,
    MelRegressionHead,
    UnitHead,
)
from spectron.language_models import CausalLanguageModel, LlamaLanguageModel, TokenizerSettings
from spectron.segments import (
    CodeContext,
    Interleaved,
    Parts,
    PromptFeatures,
    PromptSteps,
    Schedule,
    Segment,
    Speech,
    Text,
)
from spectron.tokenizers import CodecTokenizer, SpeechTokenizer, UnitTokenizer
from spectron.tokenizers.codebooks import write_codebooks
from spectron.training.ctc import CTCModel
from spectron.vocoders import (
    CentroidMel,
    CodecVocoder,
    CodeVocoder,
    GriffinLimVocoder,
    HiFiGANVocoder,
    UnitHiFiGANVocoder,
    VocosSettings,
    VocosVocoder,
)
from spectron.weights.exporting import export_parts

CONTRACTS = (SpeechEncoder, LanguageModel, SpeechHead, SpeechTokenizer, Vocoder, Segment, SpokenMetric, Judge)
PACKAGES = (encoders, language_models, heads, tokenizers, vocoders, segments, metrics, judges)
OURS = tuple(f"{package.__name__}." for package in PACKAGES)
WIDTH = 32
MEL = MelConfig(n_mels=20)
HIFIGAN_MEL = MelConfig(16000, 2.0, 8.0, 12, 0.0, 8000.0, 1e-5, "slaney", True)
CONFORMER = ConformerSettings(width=WIDTH, layers=2, heads=2, feedforward=64, kernel=5)
LLAMA = {
    "model_type": "llama",
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def tiny_language_model(folder):
    text = folder / "text.txt"
    text.write_text("the cow says moo\nthe capital of france is paris\n")
    return CausalLanguageModel(config=dict(LLAMA), tokenizer=TokenizerSettings(str(text), 300))


@cache
def tiny_parts(folder):
    """Return parts that a segment and the same segment built again share."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        head = partial(MelRegressionHead, mel=MEL, frames_per_step=3)
        return Parts(
            FrameStackEncoder(WIDTH).eval(), tiny_language_model(folder).eval(), lambda size: head(size).eval()
        )


def tiny_tokenizer(folder, levels=1, codes=16):
    """Return a tokenizer of random centroids of log-mel frames, always the same."""
    generator = torch.Generator().manual_seed(7)
    codebooks = 3 * torch.randn(levels, codes, 4 * MEL.n_mels, generator=generator)
    encoder = FrameStackEncoder(stack=4, mel=MEL)
    return UnitTokenizer(encoder, str(write_codebooks(codebooks, folder / f"codebooks_{levels}")))


def tiny_code_vocoder(folder):
    tokenizer = tiny_tokenizer(folder, levels=2)
    vocoder = partial(GriffinLimVocoder, iterations=4)
    return CodeVocoder(tokenizer.format, partial(CentroidMel, tokenizer=tokenizer), vocoder)


def tiny_codec(folder):
    return CodecTokenizer(str(write_speech_codec("encodec", folder / "codec")))


@cache
def unit_parts(folder):
    """Return the parts of a unit language model without an encoder."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        tokenizer, lm = tiny_tokenizer(folder), tiny_language_model(folder).eval()
        return Parts(None, lm, lambda size: UnitHead(size, tokenizer).eval())


def tiny_export(folder):
    spec = {"class_path": "spectron.encoders.FrameStackEncoder", "init_args": {"output_dim": WIDTH}}
    parts = nn.ModuleDict({"encoder": FrameStackEncoder(WIDTH)})
    export_parts(parts, {"task": "spectron.training.CTCModule", "model": {"encoder": spec}}, folder / "export")
    return str(folder / "export")


def tiny_ctc(folder):
    spec = {"class_path": "spectron.encoders.FrameStackEncoder", "init_args": {"output_dim": WIDTH}}
    config = {"task": "spectron.training.CTCModule", "model": {"encoder": spec, "characters": "abc"}}
    export_parts(CTCModel(FrameStackEncoder(WIDTH), "abc"), config, folder / "ctc")
    return CTCTranscriber(str(folder / "ctc"))


def tiny_text_scorer(folder):
    tiny_language_model(folder).save(folder / "language_model")
    return TransformersTextScorer(str(folder / "language_model"))


METRICS = [*map(type, all_metrics()), MelDistance, StftDistance, MelCepstralDistance, PitchError]

TINY: dict[type, Callable] = {
    **{kind: lambda folder, kind=kind: kind() for kind in METRICS},
    CTCTranscriber: tiny_ctc,
    PocketSphinxTranscriber: lambda folder: PocketSphinxTranscriber(),
    ResemblyzerEmbedder: lambda folder: ResemblyzerEmbedder(),
    DNSMOSPredictor: lambda folder: DNSMOSPredictor(),
    TransformersTranscriber: lambda folder: TransformersTranscriber(
        str(write_speech_judge("wav2vec2", folder / "judge"))
    ),
    TransformersSpeakerEmbedder: lambda folder: TransformersSpeakerEmbedder(
        str(write_speech_judge("wavlm_speaker", folder / "judge"))
    ),
    SpeechBrainSpeakerEmbedder: lambda folder: SpeechBrainSpeakerEmbedder(
        str(write_speechbrain_folder("ecapa", folder / "ecapa")), sample_rate_hz=16000
    ),
    TransformersTextScorer: tiny_text_scorer,
    ConformerEncoder: lambda folder: ConformerEncoder(CONFORMER),
    FrameStackEncoder: lambda folder: FrameStackEncoder(WIDTH),
    PretrainedEncoder: lambda folder: PretrainedEncoder(
        str(write_speech_encoder("wav2vec2", folder / "encoder")), layer="weighted"
    ),
    ExportedEncoder: lambda folder: ExportedEncoder(tiny_export(folder)),
    SpeechBrainEncoder: lambda folder: SpeechBrainEncoder(
        str(write_speechbrain_folder("conformer", folder / "speechbrain"))
    ),
    CausalLanguageModel: tiny_language_model,
    LlamaLanguageModel: lambda folder: LlamaLanguageModel(str(write_language_model("llama", folder / "llama"))),
    MelRegressionHead: lambda folder: MelRegressionHead(WIDTH, MEL, frames_per_step=3),
    LatentSamplingHead: lambda folder: LatentSamplingHead(WIDTH, mel=MEL, frames_per_step=3),
    UnitHead: lambda folder: UnitHead(WIDTH, tiny_tokenizer(folder)),
    FlatCodeHead: lambda folder: FlatCodeHead(WIDTH, tiny_tokenizer(folder, levels=3)),
    DelayCodeHead: lambda folder: DelayCodeHead(WIDTH, tiny_tokenizer(folder, levels=3)),
    DepthCodeHead: lambda folder: DepthCodeHead(WIDTH, tiny_tokenizer(folder, levels=3), depth_width=16),
    UnitTokenizer: tiny_tokenizer,
    CodecTokenizer: tiny_codec,
    CodeVocoder: tiny_code_vocoder,
    CodecVocoder: lambda folder: CodecVocoder(tiny_codec(folder).format, tiny_codec(folder)),
    CodeContext: lambda folder: CodeContext(unit_parts(folder), tiny_tokenizer(folder, levels=2), "semantic"),
    PromptSteps: lambda folder: PromptSteps(unit_parts(folder)),
    PromptFeatures: lambda folder: PromptFeatures(tiny_parts(folder)),
    Text: lambda folder: Text(tiny_parts(folder), separator=" | "),
    Speech: lambda folder: Speech(tiny_parts(folder)),
    Interleaved: lambda folder: Interleaved(tiny_parts(folder), Schedule(2, 3), separator=" | "),
    GriffinLimVocoder: lambda folder: GriffinLimVocoder(MEL, iterations=4),
    VocosVocoder: lambda folder: VocosVocoder(
        MEL, vocos=VocosSettings(width=16, layers=2, feedforward=32, draft_rounds=2)
    ),
    UnitHiFiGANVocoder: lambda folder: UnitHiFiGANVocoder(
        CodeFormat(16000, 50.0, (10,), "0" * 64), str(write_unit_hifigan(folder / "units", 10))
    ),
    HiFiGANVocoder: lambda folder: HiFiGANVocoder(HIFIGAN_MEL, str(write_authors_hifigan(folder / "hifigan"))),
}


def implementations(contract: type) -> list[type]:
    for package in PACKAGES:
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    found, queue = [], [contract]
    while queue:
        subclasses = queue.pop().__subclasses__()
        queue += subclasses
        found += [c for c in subclasses if c.__module__.startswith(OURS) and not inspect.isabstract(c)]
    assert found, f"no implementation of {contract.__name__}"
    return sorted(found, key=lambda c: c.__name__)


def build(kind: type, folder, seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return TINY[kind](folder).eval()


@pytest.mark.parametrize(
    "kind", [kind for contract in CONTRACTS for kind in implementations(contract)], ids=lambda kind: kind.__name__
)
def test_part_obeys_its_contract(kind, tmp_path):
    verdicts = list(examine(build(kind, tmp_path), lambda: build(kind, tmp_path, seed=9), seconds=0.5))
    failed = [f"{verdict.name}: {verdict.detail}" for verdict in verdicts if verdict.passed is False]
    assert not failed, "\n".join(failed)
    assert [verdict.name for verdict in verdicts] == list(suite_of(kind).checks)
    # A segment without parameters has no gradient of its own.
    free = issubclass(kind, Segment) and not list(build(kind, tmp_path).parameters())
    inapplicable = {"gradient or frozen"} if free else set()
    # Alone, a stage of a chain does not speak; tests/evaluation/systems/test_staged.py decodes it in a chain.
    inapplicable |= {"positions", "decoding"} if kind is CodeContext else set()
    assert {verdict.name for verdict in verdicts if not verdict.passed} == inapplicable, "a check did not apply"


@pytest.mark.parametrize("contract", CONTRACTS)
def test_every_implementation_is_tested(contract):
    assert set(implementations(contract)) <= set(TINY), "add the new part to TINY"
