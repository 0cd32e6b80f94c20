"""Recognisers of transformers: CTC models, Whisper, other sequence-to-sequence models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from spectron.encoders.pretrained_loading import Reading, quiet, read_config
from spectron.errors import ConfigError
from spectron.evaluation.judges.chunking import PIECE_SECONDS, TOGETHER_SECONDS, by_pieces, join_texts
from spectron.evaluation.judges.judge import Transcriber
from spectron.evaluation.judges.sources import HubJudge
from spectron.evaluation.judges.speech_models import HeadedEncoder, read_model
from spectron.weights.hub import reading

WINDOWS_TOGETHER = 16
MOST_TOKENS = 256  # per piece, if the model does not limit its output: the library's default for speech


class TransformersTranscriber(HubJudge, Transcriber):
    """A recogniser by hub name or folder, with the output of its own tokenizer.

    CTC models (wav2vec 2.0, HuBERT, WavLM, Data2Vec and others) and sequence-to-sequence models (Whisper and others)
    use greedy decoding: no beam, no sampling, no language model. Recordings above 30 s are cut at quiet places, and the
    texts of the pieces are joined.

    Args:
        source: Name on the hub or local folder, with safetensors weights.
        revision: Branch, tag or commit on the hub.
        language: Code of the output language of a multilingual Whisper; other models ignore it.

    Raises:
        ConfigError: if ``source`` is a path that does not exist, or, at ``load``, no recogniser.
    """

    def __init__(self, source: str, revision: str | None = None, language: str = "en") -> None:
        super().__init__(source, revision)
        self.language = language
        self.recogniser: Recogniser

    @property
    def title(self) -> str:
        """Return class, model and language."""
        return f"TransformersTranscriber({self.name}, {self.language}, greedy)"

    def load(self) -> None:
        """Read model, feature extractor and tokenizer."""
        from transformers import AutoConfig
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_CTC_MAPPING_NAMES,
            MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
        )

        folder = self.folder()
        with reading(self.source, "a model of transformers"):
            kind = AutoConfig.from_pretrained(folder).model_type
        if kind in MODEL_FOR_CTC_MAPPING_NAMES:
            self.recogniser = CTCRecogniser(folder, self.source)
        elif kind in MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES:
            self.recogniser = AutoregressiveRecogniser(folder, self.source, self.language)
        else:
            raise ConfigError(
                f"{self.source!r} is a {kind!r} model, which is not a supported recogniser. Name another", key="source"
            )

    def transcribe(self, waveforms: list[Tensor], sample_rate_hz: int) -> list[str]:
        """Return the words of each waveform (S,); none for digital silence and for less than 0.1 s."""
        device = next(self.recogniser.parameters()).device
        own = self.recogniser
        return join_texts(
            by_pieces(
                waveforms, sample_rate_hz, own.sample_rate_hz, device, own, own.longest_seconds, own.together_seconds
            )
        )


class Recogniser(nn.Module, ABC):
    """Base of recognisers.

    Attributes:
        sample_rate_hz: Rate of the waveforms.
        longest_seconds: Longest recording that it accepts.
        together_seconds: Largest batch; None depends on the device.
    """

    sample_rate_hz: int
    longest_seconds: float = PIECE_SECONDS
    together_seconds: float | None = None

    @abstractmethod
    def forward(self, waveforms: list[Tensor]) -> list[str]:
        """Return the words of waveforms (S,) of at least 0.1 s and at most ``longest_seconds``."""


class CTCRecogniser(Recogniser):
    """A CTC head on a speech encoder.

    Args:
        folder: Folder of the model.
        source: The user's name of the model.
    """

    def __init__(self, folder: Path, source: str) -> None:
        from transformers import AutoModelForCTC

        super().__init__()
        self.encoder = HeadedEncoder(folder, source, AutoModelForCTC)
        self.tokenizer = read_tokenizer(folder, source)
        self.sample_rate_hz = self.encoder.sample_rate_hz

    def forward(self, waveforms: list[Tensor]) -> list[str]:
        """Return the most likely symbol of every step, collapsed by the tokenizer's rules."""
        return [
            self.tokenizer.decode(output.logits[row, :steps].argmax(-1))
            for output, row, steps in self.encoder(waveforms)
        ]


class AutoregressiveRecogniser(Recogniser):
    """An encoder with an autoregressive decoder.

    Whisper accepts windows of one length, which can be batched. Any other model gets one recording at a time, because
    its response to padding is unknown.

    Args:
        folder: Folder of the model.
        source: The user's name of the model.
        language: Output language of a multilingual Whisper.
    """

    def __init__(self, folder: Path, source: str, language: str) -> None:
        from transformers import AutoModelForSpeechSeq2Seq

        super().__init__()
        config, self.extractor = read_config(folder, Reading(source, "last", False, "float32", True, False))
        self.model = read_model(folder, source, AutoModelForSpeechSeq2Seq)
        self.tokenizer = read_tokenizer(folder, source)
        self.sample_rate_hz = int(self.extractor.sampling_rate)
        self.settings: dict[str, Any] = {"do_sample": False, "num_beams": 1}
        self.together = config.model_type == "whisper"
        if not self.together:
            self.settings["max_new_tokens"] = MOST_TOKENS
            return
        self.together_seconds = (
            TOGETHER_SECONDS  # windows have one length, and a step of the decoder serves the whole batch
        )
        self.longest_seconds = min(PIECE_SECONDS, self.extractor.n_samples / self.sample_rate_hz)
        if languages := getattr(self.model.generation_config, "lang_to_id", None):
            if f"<|{language}|>" not in languages:
                known = sorted(name.strip("<|>") for name in languages)
                message = f"{source!r} supports {', '.join(known)}, not {language!r}"
                raise ConfigError(message, key="language", allowed=known)
            self.settings |= {"language": language, "task": "transcribe"}

    def forward(self, waveforms: list[Tensor]) -> list[str]:
        """Return the output of the decoder without control tokens."""
        together = WINDOWS_TOGETHER if self.together else 1
        return [
            text
            for begin in range(0, len(waveforms), together)
            for text in self.write(waveforms[begin : begin + together])
        ]

    def write(self, waveforms: list[Tensor]) -> list[str]:
        """Return the texts of a batch."""
        arrays = [waveform.cpu().numpy() for waveform in waveforms]
        inputs = self.extractor(
            arrays, sampling_rate=self.sample_rate_hz, return_tensors="pt", return_attention_mask=True
        )
        inputs = {name: value.to(self.model.device) for name, value in inputs.items()}
        with quiet():
            tokens = self.model.generate(**inputs, **self.settings)
        return self.tokenizer.batch_decode(tokens, skip_special_tokens=True)


def read_tokenizer(folder: Path, source: str) -> Any:
    """Read the tokenizer of a folder.

    Raises:
        ConfigError: if there is none.
    """
    from transformers import AutoTokenizer

    with quiet(), reading(source, "a recogniser with a tokenizer"):
        return AutoTokenizer.from_pretrained(folder)
