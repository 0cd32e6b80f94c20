"""Front ends of pre-trained encoders: the feature extractors of transformers, computed on the device for a whole batch.

Each front end returns the values of the library's own extractor. A recording that is too short for one step is padded
with silence.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from spectron.audio.mel import padding_mask
from spectron.errors import ConfigError

# Kaldi's filter bank as in SeamlessM4T's feature extractor; a preprocessor_config.json states none of these values.
KALDI_WINDOW, KALDI_SHIFT, KALDI_FFT, KALDI_PREEMPHASIS, KALDI_FLOOR = 400, 160, 512, 0.97, 1.192092955078125e-07


class FrontEnd(nn.Module, ABC):
    """Module that turns waveforms into the inputs of a model of transformers.

    Attributes:
        min_samples: Fewest samples that give one step.
        hop_samples: Samples from one step to the next, if rows are encoded together.
    """

    min_samples: int = 1
    hop_samples: int

    @abstractmethod
    def forward(self, waveform: Tensor, num_samples: Tensor) -> dict[str, Tensor]:
        """Return the model inputs of (B, S) audio, 0 after (B,) valid samples and at least ``min_samples`` long."""

    def num_steps(self, num_samples: Tensor, model: Any) -> Tensor:
        """Return the valid steps (B,) of recordings of at least ``min_samples``; not used row by row."""
        raise NotImplementedError

    def regroup(self, features: Tensor, num_samples: Tensor, longest: int) -> Tensor:
        """Return the model's output as features (B, U, D), one row per recording of at most ``longest`` samples."""
        return features


class WaveformFrontEnd(FrontEnd):
    """The waveform itself, normalised if the feature extractor asks for it (wav2vec 2.0 and related models).

    Args:
        config: The model's configuration.
        extractor: transformers' ``Wav2Vec2FeatureExtractor``.
    """

    def __init__(self, config: Any, extractor: Any) -> None:
        super().__init__()
        self.normalised = bool(extractor.do_normalize)
        self.min_samples = getattr(config, "squeeze_factor", 1)  # SEW joins this many steps before its blocks
        self.hop_samples = math.prod(config.conv_stride)
        for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
            self.min_samples = (self.min_samples - 1) * stride + kernel

    @torch.autocast("cuda", enabled=False)
    def forward(self, waveform: Tensor, num_samples: Tensor) -> dict[str, Tensor]:
        """Return ``input_values`` (B, S) and ``attention_mask`` (B, S)."""
        if self.normalised:
            waveform = standardise(waveform[..., None], num_samples, correction=0)[..., 0]
        heard = num_samples.clamp(min=self.min_samples)
        return {"input_values": waveform, "attention_mask": (~padding_mask(heard, waveform.shape[1])).long()}

    def num_steps(self, num_samples: Tensor, model: Any) -> Tensor:
        """Return the steps (B,) that the model computes from its convolutions."""
        return model._get_feat_extract_output_lengths(num_samples).long()


class FilterBankFrontEnd(FrontEnd):
    """Kaldi's log filter bank, each band of zero mean and unit variance, neighbouring frames joined (w2v-BERT 2.0).

    Computed in double precision, as in the library: in single precision, quiet bands next to loud ones differ visibly.

    Args:
        config: The model's configuration.
        extractor: transformers' ``SeamlessM4TFeatureExtractor``.
    """

    bank: Tensor
    window: Tensor

    def __init__(self, config: Any, extractor: Any) -> None:
        super().__init__()
        self.stride = int(extractor.stride)
        self.hop_samples = self.stride * KALDI_SHIFT
        self.min_samples = KALDI_WINDOW + (self.stride - 1) * KALDI_SHIFT
        self.register_buffer("bank", torch.as_tensor(extractor.mel_filters, dtype=torch.float64), persistent=False)
        self.register_buffer("window", torch.as_tensor(extractor.window, dtype=torch.float64), persistent=False)

    @torch.autocast("cuda", enabled=False)
    def forward(self, waveform: Tensor, num_samples: Tensor) -> dict[str, Tensor]:
        """Return ``input_features`` (B, U, stride * M) and ``attention_mask`` (B, U)."""
        heard = num_samples.clamp(min=self.min_samples)
        num_frames = (heard - KALDI_WINDOW).div(KALDI_SHIFT, rounding_mode="floor") + 1
        features = standardise(self.log_bands(waveform), num_frames, correction=1).float()
        features = features[:, : features.shape[1] // self.stride * self.stride]
        features = features.unflatten(1, (-1, self.stride)).flatten(2)
        steps = num_frames.div(self.stride, rounding_mode="floor")
        return {"input_features": features, "attention_mask": (~padding_mask(steps, features.shape[1])).long()}

    def log_bands(self, waveform: Tensor) -> Tensor:
        """Return Kaldi's log filter bank (B, T, M) of (B, S) audio, scaled like 16-bit integers."""
        frames = (waveform.double() * 2**15).unfold(1, KALDI_WINDOW, KALDI_SHIFT)  # (B, T, window)
        frames = frames - frames.mean(-1, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
        frames = (frames - KALDI_PREEMPHASIS * before) * self.window
        power = torch.fft.rfft(frames, KALDI_FFT).abs().square()
        return (power @ self.bank).clamp(min=KALDI_FLOOR).log()

    def num_steps(self, num_samples: Tensor, model: Any) -> Tensor:
        """Return the steps (B,) of whole strides: the library masks an incomplete last stride."""
        return ((num_samples - KALDI_WINDOW).div(KALDI_SHIFT, rounding_mode="floor") + 1).div(
            self.stride, rounding_mode="floor"
        )


class WindowedFrontEnd(FrontEnd):
    """Whisper's log-mel in windows of the length that it was trained on (30 s).

    A shorter recording is padded with silence to a whole window, as in Whisper's training. A longer recording is cut
    into successive windows, which are encoded independently. Only the steps that cover the recording are valid.

    Args:
        config: The model's configuration.
        extractor: transformers' ``WhisperFeatureExtractor``.

    Raises:
        ConfigError: if model and feature extractor have different windows.
    """

    bank: Tensor
    window: Tensor

    def __init__(self, config: Any, extractor: Any) -> None:
        super().__init__()
        self.hop, self.fft = int(extractor.hop_length), int(extractor.n_fft)
        self.hop_samples = 2 * self.hop  # the second convolution takes every other frame
        self.window_samples, self.window_steps = int(extractor.n_samples), int(config.max_source_positions)
        if self.window_samples != self.hop_samples * self.window_steps:
            raise ConfigError(
                f"its feature extractor makes windows of {self.window_samples} samples and its model takes "
                f"{self.hop_samples * self.window_steps}: preprocessor_config.json and config.json belong to different "
                "models",
                key="source",
            )
        self.register_buffer("bank", torch.as_tensor(extractor.mel_filters, dtype=torch.float32), persistent=False)
        self.register_buffer("window", torch.hann_window(self.fft), persistent=False)

    @torch.autocast("cuda", enabled=False)
    def forward(self, waveform: Tensor, num_samples: Tensor) -> dict[str, Tensor]:
        """Return ``input_features`` (W, M, T), one row for each window that contains samples of a recording."""
        waveform = nn.functional.pad(waveform, (0, -waveform.shape[1] % self.window_samples))
        windows = waveform.unflatten(1, (-1, self.window_samples))[self._heard(num_samples, waveform.shape[1])]
        spectrum = torch.stft(windows, self.fft, self.hop, window=self.window, return_complex=True)[..., :-1]
        mel = (self.bank.T @ spectrum.abs().square()).clamp(min=1.0e-10).log10()
        return {"input_features": (torch.maximum(mel, mel.amax((1, 2), keepdim=True) - 8.0) + 4.0) / 4.0}

    def num_steps(self, num_samples: Tensor, model: Any) -> Tensor:
        """Return the number of steps (B,) that begin inside the recording."""
        return -(-num_samples // self.hop_samples)

    def regroup(self, features: Tensor, num_samples: Tensor, longest: int) -> Tensor:
        """Join windows (W, U, D) to rows (B, U', D)."""
        heard = self._heard(num_samples, longest)
        whole = features.new_zeros(*heard.shape, *features.shape[1:])
        return whole.masked_scatter(heard[..., None, None], features).flatten(1, 2)

    def _heard(self, num_samples: Tensor, longest: int) -> Tensor:
        """Return a mask (B, windows) of the windows that contain samples of a recording."""
        count = -(-num_samples.clamp(min=self.min_samples) // self.window_samples)
        return ~padding_mask(count, max(-(-longest // self.window_samples), 1))


class LibraryFrontEnd(FrontEnd):
    """Any other feature extractor of transformers, run by the library: on the CPU, one recording at a time.

    Args:
        extractor: The feature extractor.
        model: Model that takes the output of the extractor.

    Attributes:
        argument: Name that the model's ``forward`` has for the features.
    """

    def __init__(self, extractor: Any, model: Any) -> None:
        super().__init__()
        self.extractor = extractor
        self.min_samples = int(extractor.sampling_rate) // 10
        self.features = extractor.model_input_names[0]
        self.named = list(inspect.signature(model.forward).parameters)
        self.argument = self.features if self.features in self.named else self.named[0]
        taken = inspect.signature(extractor.__call__).parameters
        takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in taken.values())
        asked = {"sampling_rate": int(extractor.sampling_rate), "return_tensors": "pt"}
        self.arguments = {name: value for name, value in asked.items() if takes_any or name in taken}

    def forward(self, waveform: Tensor, num_samples: Tensor) -> dict[str, Tensor]:
        """Return the outputs of the extractor for one recording (1, S) that the model accepts."""
        given = self.extractor(waveform[0].cpu().numpy(), **self.arguments)
        inputs = {name: value.to(waveform.device) for name, value in given.items() if isinstance(value, Tensor)}
        others = {name: value for name, value in inputs.items() if name in self.named and name != self.features}
        return {self.argument: inputs[self.features], **others}


def in_dtype(inputs: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return inputs with floats converted to ``dtype``; integers and masks stay as they are."""
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}


def standardise(values: Tensor, lengths: Tensor, correction: int) -> Tensor:
    """Normalise every channel of (B, T, C) to mean 0 and variance 1 over (B,) valid positions; 0 elsewhere.

    ``correction`` is subtracted from the count of the variance.
    """
    valid = ~padding_mask(lengths, values.shape[1])[..., None]
    count = lengths[:, None, None].clamp(min=1)
    centred = (values - (values * valid).sum(1, keepdim=True) / count) * valid
    variance = centred.square().sum(1, keepdim=True) / (count - correction).clamp(min=1)
    return centred / (variance + 1.0e-7).sqrt()
