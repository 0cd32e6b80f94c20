"""Speaker encoders of transformers and of speechbrain, by hub name or folder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spectron.encoders.speechbrain_folder import SpeechBrainEncoder
from spectron.errors import ConfigError
from spectron.evaluation.judges.chunking import by_pieces, join_embeddings
from spectron.evaluation.judges.judge import SpeakerEmbedder
from spectron.evaluation.judges.sources import HubJudge
from spectron.evaluation.judges.speech_models import HeadedEncoder
from spectron.ranges import SampleRate, checks_ranges

LEAST_STEPS = 2  # a head's standard deviation over time needs two


class TransformersSpeakerEmbedder(HubJudge, SpeakerEmbedder):
    """An x-vector head of transformers (WavLM, wav2vec 2.0, ...), such as ``microsoft/wavlm-base-plus-sv``.

    The embedding is the library's, scaled to length 1. A recording above 30 s has the mean over its pieces, weighted by
    their lengths. A recording that is too short for the head (a third of a second with the usual sizes) has no voice.

    Args:
        source: Name on the hub or local folder, with safetensors weights.
        revision: Branch, tag or commit on the hub.

    Raises:
        ConfigError: if ``source`` is a path that does not exist, or, at ``load``, no model with an x-vector head.
    """

    @property
    def title(self) -> str:
        """Return class and model."""
        return f"TransformersSpeakerEmbedder({self.name})"

    def load(self) -> None:
        """Read model and feature extractor."""
        from transformers import AutoModelForAudioXVector

        self.encoder = HeadedEncoder(self.folder(), self.source, AutoModelForAudioXVector)
        config: Any = self.encoder.model.config
        self.margin = sum(
            (kernel - 1) * dilation for kernel, dilation in zip(config.tdnn_kernel, config.tdnn_dilation, strict=True)
        )
        # The library's own count ignores the dilation and would treat the padding of a batch as speech.
        self.encoder.model._get_tdnn_output_lengths = self.head_steps

    def head_steps(self, num_steps: Tensor) -> Tensor:
        """Return how many steps (B,) of the encoder remain after the head's dilated convolutions."""
        return (num_steps - self.margin).clamp(min=0)

    def embed(self, waveforms: list[Tensor], sample_rate_hz: int) -> Tensor:
        """Embed waveforms (S,) as (B, E)."""
        model: Any = self.encoder.model
        pieces = by_pieces(waveforms, sample_rate_hz, self.encoder.sample_rate_hz, model.device, self.embed_pieces)
        return join_embeddings(pieces, model.config.xvector_output_dim, model.device)

    def embed_pieces(self, pieces: list[Tensor]) -> list[Tensor]:
        """Return embeddings (E,) of length 1 of pieces (S,); NaN if a piece is too short for the head."""
        num_steps = self.head_steps(self.encoder.num_steps([len(piece) for piece in pieces])).tolist()
        result = torch.full(
            (len(pieces), self.encoder.model.config.xvector_output_dim), torch.nan, device=pieces[0].device
        )
        telling = [place for place, steps in enumerate(num_steps) if steps >= LEAST_STEPS]
        if telling:
            outputs = self.encoder([pieces[place] for place in telling])
            result[telling] = torch.nn.functional.normalize(
                torch.stack([output.embeddings[row] for output, row, _ in outputs]), dim=1
            )
        return list(result)


@checks_ranges
class SpeechBrainSpeakerEmbedder(HubJudge, SpeakerEmbedder):
    """A speaker encoder of speechbrain (ECAPA-TDNN, x-vectors), such as ``speechbrain/spkrec-ecapa-voxceleb``.

    The embedding equals ``EncoderClassifier.encode_batch`` of speechbrain for each recording alone, scaled to length 1.
    Padding affects its convolutions, so recordings are encoded one at a time. A recording above 30 s has the mean over
    its pieces, weighted by their lengths.

    Args:
        source: Name on the hub or local folder, with ``hyperparams.yaml`` and the ``.ckpt`` files that it names; only
            their tensors are read.
        revision: Branch, tag or commit on the hub.
        sample_rate_hz: Sample rate of the encoder, if ``hyperparams.yaml`` has no ``sample_rate``.

    Raises:
        ConfigError: if ``source`` is a path that does not exist, or, at ``load``, no speaker encoder.
    """

    checkpoints = True

    def __init__(self, source: str, revision: str | None = None, sample_rate_hz: SampleRate | None = None) -> None:
        super().__init__(source, revision)
        self.sample_rate_hz = sample_rate_hz

    @property
    def title(self) -> str:
        """Return class and model."""
        return f"SpeechBrainSpeakerEmbedder({self.name})"

    def load(self) -> None:
        """Read the encoder."""
        self.encoder = SpeechBrainEncoder(str(self.folder()), self.sample_rate_hz)
        if self.encoder.frame_rate_hz:
            raise ConfigError(
                f"{self.source!r} returns a sequence, not one vector per recording: name a speaker encoder",
                key="source",
            )

    def embed(self, waveforms: list[Tensor], sample_rate_hz: int) -> Tensor:
        """Embed waveforms (S,) as (B, E)."""
        device = next(self.encoder.parameters()).device
        pieces = by_pieces(waveforms, sample_rate_hz, self.encoder.sample_rate_hz, device, self.embed_pieces)
        return join_embeddings(pieces, self.encoder.output_dim, device)

    def embed_pieces(self, pieces: list[Tensor]) -> list[Tensor]:
        """Return embeddings (E,) of length 1 of pieces (S,)."""
        embeddings = [
            self.encoder(piece[None], torch.tensor([len(piece)], device=piece.device))[0][0, 0] for piece in pieces
        ]
        return list(torch.nn.functional.normalize(torch.stack(embeddings), dim=1))
