"""Contracts of judges. A custom judge subclasses one of these classes; a YAML names it by ``class_path``.

A constructor only checks that its source exists. ``load`` reads the weights when an evaluation first needs them. A
judge runs in single precision, without gradients, on the device of the model under test, and leaves that device
afterwards.

A judge accepts any recording at any sample rate: one without samples, a click, digital silence, ten minutes. If a
recording contains nothing to judge, the evidence says so (an empty text, a row of NaN, None). The evidence of one
sample does not depend on the other samples of the batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn

from spectron.errors import ConfigError
from spectron.evaluation.judges.grouping import generated_speech, grouped, prompts
from spectron.evaluation.metrics.normalizer import normalize
from spectron.evaluation.sample import QUALITY, TEXT_SCORE, TRANSCRIPT, VOICE, SpokenSample, TextScore, Voices
from spectron.tracking.provenance import weights_sha256

TEXTS_TOGETHER = 32  # texts that a scorer receives at once


class Judge(nn.Module, ABC):
    """Base class of all judges: a model that assesses samples and shares no weights with the model under test.

    Attributes:
        gives: Kinds of evidence that it gives, such as ``transcript``. Metrics and other judges need evidence by kind.
        needs: Kinds of evidence that other judges have to give first.
        optional: Whether an evaluation continues without this judge if its weights are missing.
        judge: Name of the judge whose evidence it reads; None reads the first judge that gives it.
    """

    gives: ClassVar[frozenset[str]]
    needs: ClassVar[frozenset[str]] = frozenset()
    optional: ClassVar[bool] = False
    judge: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.loaded = False

    @property
    @abstractmethod
    def title(self) -> str:
        """Class and weights for the record of an evaluation, with the revision of a hub model."""

    @abstractmethod
    def load(self) -> None:
        """Read the weights into submodules on the CPU. ``prepare`` calls it once.

        Raises:
            ConfigError: if the source cannot be read.
        """

    @abstractmethod
    def assess(self, samples: list[SpokenSample]) -> list[dict[str, Any]]:
        """Return the evidence of each sample by kind; a kind that is left out is None. Called inside ``at_work``."""

    def missing(self) -> str | None:
        """Return why the weights are missing, and the cure; None if they are available. Fetches a hub model."""
        return None

    def weight_files(self) -> list[Path]:
        """Return the files that hold the weights of a judge that keeps them outside of torch."""
        return []

    def fill(self, samples: list[SpokenSample], name: str, device: torch.device) -> None:
        """Store the evidence of all samples under the judge's name; without weights, an optional judge leaves it None.

        Raises:
            ConfigError: if the weights are missing and the judge is not optional, or if they cannot be read.
        """
        if self.optional and (why := self.missing()) is not None:
            rank_zero_warn(f"judge `{name}` is left out: {why}")
            return
        with self.at_work(device):
            for sample, evidence in zip(samples, self.assess(samples), strict=True):
                sample.evidence[name] = dict.fromkeys(sorted(self.gives)) | evidence

    def prepare(self) -> None:
        """Load the weights if they are not loaded yet.

        Raises:
            ConfigError: if they are missing or cannot be read.
        """
        if self.loaded:
            return
        if (why := self.missing()) is not None:
            raise ConfigError(why)
        # Lightning validates in inference mode; weights made there could never leave it.
        with torch.inference_mode(False):
            self.load()
            self.eval().requires_grad_(False)
            for tensor in (*self.parameters(), *self.buffers()):
                # Buffers in double precision stay: a front end has them for a reason.
                if tensor.is_floating_point() and (
                    isinstance(tensor, nn.Parameter) or tensor.dtype.itemsize < torch.float32.itemsize
                ):
                    tensor.data = tensor.data.float()
        self.loaded = True

    def fingerprint(self) -> dict[str, str]:
        """Return the title and the SHA-256 of the weights.

        The digest covers name, type, shape and bytes of every parameter and buffer in the order of their names, then
        names and bytes of ``weight_files``. Equal digests mean equal weights, independent of the storage format.
        """
        self.prepare()
        return {"title": self.title, "weights_sha256": weights_sha256(self, self.weight_files())}

    @contextmanager
    def at_work(self, device: torch.device) -> Iterator[None]:
        """Keep the weights on ``device``, without gradients, in single precision; move them to the CPU at the end."""
        self.prepare()
        with torch.inference_mode(False):
            self.to(device)
        try:
            with torch.inference_mode(), torch.autocast(device.type, enabled=False):
                yield
        finally:
            with torch.inference_mode(False):
                self.to("cpu")


class SpeechJudge(Judge):
    """Base class of judges that only need the generated speech, in batches of similar length.

    Attributes:
        without_speech: Evidence of a sample with less than 0.1 s of speech; a kind that is left out is None.
    """

    without_speech: ClassVar[Mapping[str, Any]] = {}

    @abstractmethod
    def listen(self, waveforms: list[Tensor], sample_rate_hz: int) -> list[dict[str, Any]]:
        """Return the evidence of each waveform (S,) by kind; a kind that is left out is None."""

    def assess(self, samples: list[SpokenSample]) -> list[dict[str, Any]]:
        """Listen to the generated speech of all samples."""
        found: list[dict[str, Any]] = [dict(self.without_speech) for _ in samples]
        for places, waveforms, rate_hz in grouped(generated_speech(samples)):
            for place, evidence in zip(places, self.listen(waveforms, rate_hz), strict=True):
                found[place] = evidence
        return found


class Transcriber(SpeechJudge):
    """Speech to words."""

    gives = frozenset({TRANSCRIPT})
    without_speech: ClassVar[Mapping[str, Any]] = {TRANSCRIPT: ""}

    @abstractmethod
    def transcribe(self, waveforms: list[Tensor], sample_rate_hz: int) -> list[str]:
        """Return the words of each waveform (S,), which is on the device of the judge; empty if there are none."""

    def listen(self, waveforms: list[Tensor], sample_rate_hz: int) -> list[dict[str, Any]]:
        """Transcribe each waveform (S,)."""
        return [{TRANSCRIPT: text} for text in self.transcribe(waveforms, sample_rate_hz)]


class QualityPredictor(SpeechJudge):
    """Speech to the mean opinion score that listeners would give, without a reference. An optional judge."""

    gives = frozenset({QUALITY})
    optional = True

    @abstractmethod
    def rate(self, waveforms: list[Tensor], sample_rate_hz: int) -> list[float | None]:
        """Return the mean opinion score, 1 (bad) to 5 (excellent), of each waveform (S,); None if it is silent."""

    def listen(self, waveforms: list[Tensor], sample_rate_hz: int) -> list[dict[str, Any]]:
        """Rate each waveform (S,)."""
        return [{QUALITY: score} for score in self.rate(waveforms, sample_rate_hz)]


class TextScorer(Judge):
    """Transcripts of a recogniser to their likelihood."""

    gives = frozenset({TEXT_SCORE})
    needs = frozenset({TRANSCRIPT})

    @abstractmethod
    def score(self, texts: list[str]) -> list[tuple[float, int]]:
        """Return for each text its negative log-likelihood in nats, summed over tokens, and the number of tokens.

        An empty text has (0.0, 0).
        """

    def assess(self, samples: list[SpokenSample]) -> list[dict[str, Any]]:
        """Score the transcripts in groups of similar length; a sample without a transcript has no score.

        The transcripts are normalised: a recogniser that writes capitals and punctuation gives the same values as one
        that does not.
        """
        found: list[dict[str, Any]] = [{} for _ in samples]
        texts = {
            place: normalize(text)
            for place, sample in enumerate(samples)
            if (text := sample.evidence_of(TRANSCRIPT, self.judge)) is not None
        }
        places = sorted(texts, key=lambda place: len(texts[place]))
        for start in range(0, len(places), TEXTS_TOGETHER):
            group = places[start : start + TEXTS_TOGETHER]
            for place, score in zip(group, self.score([texts[place] for place in group]), strict=True):
                found[place] = {TEXT_SCORE: TextScore(*score)}
        return found


class SpeakerEmbedder(Judge):
    """Speech to vectors that represent the speaker, of the prompt and of the generated speech."""

    gives = frozenset({VOICE})

    @abstractmethod
    def embed(self, waveforms: list[Tensor], sample_rate_hz: int) -> Tensor:
        """Return embeddings (B, E) of length 1 of waveforms (S,); a row of NaN if a waveform contains no voice."""

    def assess(self, samples: list[SpokenSample]) -> list[dict[str, Any]]:
        """Embed prompts and generated speech."""
        voices = [Voices() for _ in samples]
        for places, waveforms, rate_hz in grouped(prompts(samples)):
            for place, embedding in zip(places, self.embed(waveforms, rate_hz).cpu(), strict=True):
                voices[place].prompt = embedding
        for places, waveforms, rate_hz in grouped(generated_speech(samples)):
            for place, embedding in zip(places, self.embed(waveforms, rate_hz).cpu(), strict=True):
                voices[place].generated = embedding
        return [{VOICE: voice} for voice in voices]
