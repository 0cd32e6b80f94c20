"""Chain of stages: each speaks the codes that the next one reads (AudioLM, arXiv:2209.03143)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from spectron.audio.resampling import resample_rows
from spectron.audio.speech_format import SpeechFormat
from spectron.batch import Continuation, Prompts, SpeechBatch, SpeechScores
from spectron.contracts import SpokenLanguageModel, Vocoder
from spectron.decoding import Decoding
from spectron.errors import ConfigError
from spectron.experiment.loading import load_module
from spectron.generation import Spoken
from spectron.heads import CodeHead
from spectron.inference.model_config import model_of
from spectron.model import SpectronModel, said
from spectron.segments.speech import held_to, reference_samples
from spectron.tokenizers import SpeechTokenizer
from spectron.tracking.provenance import weights_sha256


@dataclass
class Stage:
    """Trained model of one stage.

    Args:
        model: Run, checkpoint or export.
        weights: First digits of the hash of its weights, as evaluations state it; another model is then refused.
    """

    model: str
    weights: str = ""


class StagedSpeech(nn.Module, SpokenLanguageModel):
    """Several models in a chain. The first one continues the prompt; each of the others speaks what the earlier say.

    The codes of all stages but the first are joined for the vocoder. Candidates are scored by the first stage.

    Args:
        stages: Stages by name, in their order. A ``CodeContext`` of a later stage names the stage that it reads.
        vocoder: Makes a waveform of the joined codes; None takes the vocoder of the last stage, if that stage alone
            speaks what is heard.
        tokenizer: Tokenizer of the joined codes, for a chain in which several stages are heard.

    Raises:
        ConfigError: if a stage is missing, has been trained for other codes than those it gets, or is not the pinned
            model.
    """

    def __init__(
        self,
        stages: dict[str, Stage],
        vocoder: Callable[[SpeechFormat], Vocoder] | None = None,
        tokenizer: SpeechTokenizer | None = None,
    ) -> None:
        super().__init__()
        if len(stages) < 2:
            raise ConfigError("a chain has at least two stages", key="stages")
        self.stages = nn.ModuleDict({name: _loaded(name, stage) for name, stage in stages.items()})
        self._require_chain()
        heard = [model.head.format for model in self.models[1:]]
        if not all(isinstance(model.head, CodeHead) for model in self.models):
            raise ConfigError("every stage of a chain speaks codes: name runs with a head of codes", key="stages")
        if len(heard) > 1 and (tokenizer is None or vocoder is None):
            raise ConfigError(
                f"{len(heard)} stages are heard. Name the tokenizer and the vocoder of their joined codes",
                key="tokenizer",
            )
        given = heard[0] if tokenizer is None else tokenizer.format
        if tokenizer is not None:
            self._require_joined(tokenizer)
        self.vocoder = self.models[-1].vocoder if vocoder is None else vocoder(given)
        self.prompt_rate_hz = max(model.prompt_rate_hz for model in self.models)
        self.speech_rate_hz = given.sample_rate_hz

    @property
    def models(self) -> list[SpectronModel]:
        """Models of the stages, in their order."""
        return cast(list[SpectronModel], list(self.stages.values()))

    @torch.inference_mode()
    def continue_speech(self, prompts: Prompts, decoding: Decoding) -> Continuation:
        """Continue every prompt: the first stage decides what is said and for how long, the others how it sounds."""
        names, clock = list(self.stages), {"": time.perf_counter()}
        state = self.models[0].decode(self.heard_by(self.models[0], prompts), decoding, {})
        first = cast(Spoken, state.speech)
        clock[names[0]] = time.perf_counter()
        spoken = {names[0]: (first.content, first.num_frames)}
        seconds = first.num_frames / self.models[0].head.format.frame_rate_hz
        reference = reference_samples(prompts, decoding)
        wanted = torch.where(reference > 0, reference, (seconds * self.speech_rate_hz).long())
        follow = replace(decoding, length="reference")
        for name, model in zip(names[1:], self.models[1:], strict=True):
            given = replace(prompts, speech_num_samples=wanted, stages=dict(spoken))
            speech = cast(Spoken, model.decode(self.heard_by(model, given), follow, {}).speech)
            spoken[name] = (speech.content, speech.num_frames)
            clock[name] = time.perf_counter()
        codes, num_frames = _joined([spoken[name] for name in names[1:]])
        # A row in which the first stage has said nothing has no length to follow, so the others ran free.
        num_frames = torch.minimum(num_frames, self.models[-1].head.format.num_frames(wanted))
        waveform, num_samples = self.vocoder(codes, num_frames)
        clock["vocode"] = time.perf_counter()
        return Continuation(
            **said(prompts, state, clock),
            waveform=waveform,
            num_samples=held_to(reference, num_samples),
            sample_rate_hz=self.speech_rate_hz,
            stopped=first.stopped,
            num_frames=num_frames,
        )

    def heard_by(self, model: SpectronModel, prompts: Prompts) -> Prompts:
        """Return prompts, and the lengths of their references, at the sample rates of a stage."""
        waveform, num_samples = resample_rows(
            prompts.waveform, prompts.num_samples, self.prompt_rate_hz, model.prompt_rate_hz
        )
        lengths = prompts.speech_num_samples
        if lengths is not None:
            lengths = (lengths * (model.speech_rate_hz / self.speech_rate_hz)).ceil().long()
        return replace(prompts, waveform=waveform, num_samples=num_samples, speech_num_samples=lengths)

    def writes_text(self, decoding: Decoding) -> bool:
        """Return whether the first stage writes text."""
        return self.models[0].writes_text(decoding)

    def score_speech(self, batch: SpeechBatch) -> SpeechScores:
        """Score every row by the first stage."""
        return self.models[0].score_speech(batch)

    def _require_chain(self) -> None:
        """Check that each stage gets the codes that it was trained for."""
        known: dict[str, SpeechFormat] = {}
        for name, model in self.stages.items():
            reads = [
                entry for segment in cast(SpectronModel, model).segments.values() for entry in segment.reads.items()
            ]
            for stage, wanted in reads:
                if stage not in known:
                    raise ConfigError(
                        f"it reads the codes of the stage `{stage}`, which does not come before it. Earlier are: "
                        f"{', '.join(known) or 'none'}",
                        key=f"stages.{name}",
                        allowed=known,
                    )
                if known[stage] != wanted:
                    raise ConfigError(
                        f"it was trained with {wanted} of the stage `{stage}`, which gives {known[stage]}. Name the "
                        "run that it was trained for",
                        key=f"stages.{name}",
                    )
            known[name] = cast(SpectronModel, model).head.format

    def _require_joined(self, tokenizer: SpeechTokenizer) -> None:
        """Check on some noise that the codes of the heard stages, side by side, are those of the tokenizer."""
        noise = 0.1 * torch.randn(tokenizer.sample_rate_hz, generator=torch.Generator().manual_seed(0))
        codes = [cast(CodeHead, model.head).tokenizer.encode(noise) for model in self.models[1:]]
        if not torch.equal(torch.cat(codes, dim=1), tokenizer.encode(noise)):
            raise ConfigError(
                f"the codes of {' and '.join(list(self.stages)[1:])}, side by side, are not those of this tokenizer. "
                "Name the tokenizer of all their levels",
                key="tokenizer",
            )


def _loaded(name: str, stage: Stage) -> SpectronModel:
    """Load a stage, in eval mode.

    Raises:
        ConfigError: if it is no spoken language model, or not the pinned one.
    """
    model = model_of(load_module(stage.model))
    if not isinstance(model, SpectronModel):
        raise ConfigError(
            f"{stage.model} is a {type(model).__name__}. Name a run of a SpectronModule", key=f"stages.{name}"
        )
    found = weights_sha256(model)
    if not found.startswith(stage.weights):
        raise ConfigError(
            f"the weights of {stage.model} are {found[: max(len(stage.weights), 8)]}, not {stage.weights}: another "
            "model than the pinned one, perhaps a newer run",
            key=f"stages.{name}.weights",
        )
    return model


def _joined(spoken: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Join the codes (B, T, Q) of several stages: as many frames as all of them have."""
    num_frames = torch.stack([lengths for _, lengths in spoken]).amin(0)
    longest = min(codes.shape[1] for codes, _ in spoken)
    return torch.cat([codes[:, :longest] for codes, _ in spoken], dim=2), num_frames
