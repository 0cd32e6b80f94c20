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

LEAST_STEPS = 2  # a head's standard deviation over time needs two


class TransformersSpeakerEmbedder(HubJudge, SpeakerEmbedder):
    """An x-vector head of transformers (WavLM, wav2vec 2.0, UniSpeech-SAT and others), as ``microsoft/wavlm-base-plus-sv``.

    The library's ``embeddings``, scaled to length 1; of a recording above 30 s the mean over pieces, weighted by their lengths. A recording
    too short for the head (a third of a second with the usual sizes) has no voice.

    Args:
        source: Name on the hub or local folder, with safetensors weights.
        revision: Branch, tag or commit on the hub.

    Raises:
        ConfigError: if ``source`` is a path that is not there, or, at ``load``, no model with an x-vector head.
    """

    @property
    def title(self) -> str:
        """Class and model."""
        return f"TransformersSpeakerEmbedder({self.name})"

    def load(self) -> None:
        """Read model and feature extractor."""
        from transformers import AutoModelForAudioXVector

        self.encoder = HeadedEncoder(self.folder(), self.source, AutoModelForAudioXVector)
        config: Any = self.encoder.model.config
        self.margin = sum(
            (kernel - 1) * dilation for kernel, dilation in zip(config.tdnn_kernel, config.tdnn_dilation, strict=True)
        )
        # The library's own count forgets the dilation, and would take the padding of a batch for speech.
        self.encoder.model._get_tdnn_output_lengths = self.head_steps

    def head_steps(self, num_steps: Tensor) -> Tensor:
        """Steps (B,) that the head's dilated convolutions leave of the encoder's."""
        return (num_steps - self.margin).clamp(min=0)

    def embed(self, waveforms: list[Tensor], sample_rate_hz: int) -> Tensor:
        """Waveforms (S,) to embeddings (B, E)."""
        model: Any = self.encoder.model
        pieces = by_pieces(waveforms, sample_rate_hz, self.encoder.sample_rate_hz, model.device, self.embed_pieces)
        return join_embeddings(pieces, model.config.xvector_output_dim, model.device)

    def embed_pieces(self, pieces: list[Tensor]) -> list[Tensor]:
        """Embeddings (E,) of length 1 of pieces (S,); NaN where they are too short for the head."""
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


class SpeechBrainSpeakerEmbedder(HubJudge, SpeakerEmbedder):
    """A speaker encoder of speechbrain (ECAPA-TDNN, x-vectors) in its own format, as ``speechbrain/spkrec-ecapa-voxceleb``.

    What ``EncoderClassifier.encode_batch`` of speechbrain gives for each recording alone, scaled to length 1: its convolutions hear
    padding, so that recordings are encoded one at a time. Of a recording above 30 s the mean over pieces, weighted by their lengths.

    Args:
        source: Name on the hub or local folder, with ``hyperparams.yaml`` and the ``.ckpt`` files that it names, of which only tensors
            are read.
        revision: Branch, tag or commit on the hub.
        sample_rate_hz: Rate of its waveform, where ``hyperparams.yaml`` has no ``sample_rate``.

    Raises:
        ConfigError: if ``source`` is a path that is not there, or, at ``load``, no speaker encoder.
    """

    checkpoints = True

    def __init__(self, source: str, revision: str | None = None, sample_rate_hz: int | None = None) -> None:
        super().__init__(source, revision)
        self.sample_rate_hz = sample_rate_hz

    @property
    def title(self) -> str:
        """Class and model."""
        return f"SpeechBrainSpeakerEmbedder({self.name})"

    def load(self) -> None:
        """Read the encoder."""
        self.encoder = SpeechBrainEncoder(str(self.folder()), self.sample_rate_hz)
        if self.encoder.frame_rate_hz:
            raise ConfigError(
                f"{self.source!r} gives a sequence, not one vector a recording: it is no speaker encoder. Name one",
                key="source",
            )

    def embed(self, waveforms: list[Tensor], sample_rate_hz: int) -> Tensor:
        """Waveforms (S,) to embeddings (B, E)."""
        device = next(self.encoder.parameters()).device
        pieces = by_pieces(waveforms, sample_rate_hz, self.encoder.sample_rate_hz, device, self.embed_pieces)
        return join_embeddings(pieces, self.encoder.output_dim, device)

    def embed_pieces(self, pieces: list[Tensor]) -> list[Tensor]:
        """Embeddings (E,) of length 1 of pieces (S,)."""
        embeddings = [
            self.encoder(piece[None], torch.tensor([len(piece)], device=piece.device))[0][0, 0] for piece in pieces
        ]
        return list(torch.nn.functional.normalize(torch.stack(embeddings), dim=1))
