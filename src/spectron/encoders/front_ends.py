"""What pre-trained encoders are fed with, on the device and for a whole batch: each equal to the library's own feature extractor.

A recording shorter than what an encoder needs for one step is heard as if silence followed it.
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

# Kaldi's filter bank as SeamlessM4T's feature extractor has it; none of these is written in a preprocessor_config.json.
KALDI_WINDOW, KALDI_SHIFT, KALDI_FFT, KALDI_PREEMPHASIS, KALDI_FLOOR = 400, 160, 512, 0.97, 1.192092955078125e-07


class FrontEnd(nn.Module, ABC):
    """Waveform to the inputs of a model of transformers.

    Attributes:
        min_samples: Fewest samples that give one step.
        hop_samples: Samples from one step to the next, where rows are encoded together.
    """

    min_samples: int = 1
    hop_samples: int

    @abstractmethod
    def forward(self, waveform: Tensor, num_samples: Tensor) -> dict[str, Tensor]:
        """Model inputs of (B, S) audio, zero beyond (B,) valid samples and at least ``min_samples`` long."""

    def num_steps(self, num_samples: Tensor, model: Any) -> Tensor:
        """Valid steps (B,) of recordings of at least ``min_samples``, padded in a batch; not asked where rows are heard one by one."""
        raise NotImplementedError

    def regroup(self, features: Tensor, num_samples: Tensor) -> Tensor:
        """Features as the model gives them, (B, U, D), one row a recording."""
        return features


class WaveformFrontEnd(FrontEnd):
    """The waveform itself, of zero mean and unit variance where the feature extractor says so (wav2vec 2.0 and its kin).

    Args:
        config: The model's configuration.
        extractor: transformers' ``Wav2Vec2FeatureExtractor``.
    """

    def __init__(self, config: Any, extractor: Any) -> None:
        super().__init__()
        self.normalised = bool(extractor.do_normalize)
        self.min_samples = getattr(config, "squeeze_factor", 1)  # SEW joins so many steps before its blocks
        self.hop_samples = math.prod(config.conv_stride)
        for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
            self.min_samples = (self.min_samples - 1) * stride + kernel

    @torch.autocast("cuda", enabled=False)
    def forward(self, waveform: Tensor, num_samples: Tensor) -> dict[str, Tensor]:
        """``input_values`` (B, S) and ``attention_mask`` (B, S)."""
        if self.normalised:
            waveform = standardise(waveform[..., None], num_samples, correction=0)[..., 0]
        heard = num_samples.clamp(min=self.min_samples)
        return {"input_values": waveform, "attention_mask": (~padding_mask(heard, waveform.shape[1])).long()}

    def num_steps(self, num_samples: Tensor, model: Any) -> Tensor:
        """Steps (B,) by the model's own account of its convolutions."""
        return model._get_feat_extract_output_lengths(num_samples).long()


class FilterBankFrontEnd(FrontEnd):
    """Kaldi's log filter bank, each band of zero mean and unit variance, neighbouring frames joined (w2v-BERT 2.0).

    In double precision, as the library computes it: quiet bands beside loud ones differ visibly in single precision.

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
        """``input_features`` (B, U, stride * M) and ``attention_mask`` (B, U)."""
        heard = num_samples.clamp(min=self.min_samples)
        num_frames = (heard - KALDI_WINDOW).div(KALDI_SHIFT, rounding_mode="floor") + 1
        features = standardise(self.log_bands(waveform), num_frames, correction=1).float()
        features = features[:, : features.shape[1] // self.stride * self.stride]
        features = features.unflatten(1, (-1, self.stride)).flatten(2)
        steps = num_frames.div(self.stride, rounding_mode="floor")
        return {"input_features": features, "attention_mask": (~padding_mask(steps, features.shape[1])).long()}

    def log_bands(self, waveform: Tensor) -> Tensor:
        """Kaldi's log filter bank (B, T, M) of (B, S) audio, which it takes for 16-bit integers."""
        frames = (waveform.double() * 2**15).unfold(1, KALDI_WINDOW, KALDI_SHIFT)  # (B, T, window)
        frames = frames - frames.mean(-1, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
        frames = (frames - KALDI_PREEMPHASIS * before) * self.window
        power = torch.fft.rfft(frames, KALDI_FFT).abs().square()
        return (power @ self.bank).clamp(min=KALDI_FLOOR).log()

    def num_steps(self, num_samples: Tensor, model: Any) -> Tensor:
        """Steps (B,) of whole strides: the library masks a last one that is not full."""
        return ((num_samples - KALDI_WINDOW).div(KALDI_SHIFT, rounding_mode="floor") + 1).div(
            self.stride, rounding_mode="floor"
        )


class WindowedFrontEnd(FrontEnd):
    """Whisper's log-mel in windows of the one length that it was trained on (30 s).

    A shorter recording is followed by silence up to a whole window, as in Whisper's training; a longer one is heard in successive
    windows that know nothing of each other. Only the steps that cover the recording itself count.

    Args:
        config: The model's configuration.
        extractor: transformers' ``WhisperFeatureExtractor``.

    Raises:
        ConfigError: if model and feature extractor do not agree on the window.
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
                f"its feature extractor cuts windows of {self.window_samples} samples and its model hears "
                f"{self.hop_samples * self.window_steps}: preprocessor_config.json and config.json belong to different models",
                key="source",
            )
        self.register_buffer("bank", torch.as_tensor(extractor.mel_filters, dtype=torch.float32), persistent=False)
        self.register_buffer("window", torch.hann_window(self.fft), persistent=False)

    @torch.autocast("cuda", enabled=False)
    def forward(self, waveform: Tensor, num_samples: Tensor) -> dict[str, Tensor]:
        """``input_features`` (W, M, T), one row for each window that any recording reaches into."""
        waveform = nn.functional.pad(waveform, (0, -waveform.shape[1] % self.window_samples))
        windows = waveform.unflatten(1, (-1, self.window_samples))[self._heard(num_samples, waveform.shape[1])]
        spectrum = torch.stft(windows, self.fft, self.hop, window=self.window, return_complex=True)[..., :-1]
        mel = (self.bank.T @ spectrum.abs().square()).clamp(min=1.0e-10).log10()
        return {"input_features": (torch.maximum(mel, mel.amax((1, 2), keepdim=True) - 8.0) + 4.0) / 4.0}

    def num_steps(self, num_samples: Tensor, model: Any) -> Tensor:
        """Steps (B,) that begin within the recording."""
        return -(-num_samples // self.hop_samples)

    def regroup(self, features: Tensor, num_samples: Tensor) -> Tensor:
        """Windows (W, U, D) side by side again, (B, U', D)."""
        heard = self._heard(num_samples, int(num_samples.max()))
        whole = features.new_zeros(*heard.shape, *features.shape[1:])
        return whole.masked_scatter(heard[..., None, None], features).flatten(1, 2)

    def _heard(self, num_samples: Tensor, longest: int) -> Tensor:
        """Which windows hold samples of a recording: (B, windows)."""
        count = -(-num_samples.clamp(min=self.min_samples) // self.window_samples)
        return ~padding_mask(count, max(-(-longest // self.window_samples), 1))


class LibraryFrontEnd(FrontEnd):
    """A feature extractor that the platform does not know, run as the library wrote it: on the CPU, one recording at a time.

    Args:
        extractor: Any feature extractor of transformers.
        model: What hears its output: all that ``forward`` names, the features under another name if it has one.

    Attributes:
        argument: The model's name for the features.
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
        """What the model takes of all that the extractor gives for one recording (1, S)."""
        given = self.extractor(waveform[0].cpu().numpy(), **self.arguments)
        inputs = {name: value.to(waveform.device) for name, value in given.items() if isinstance(value, Tensor)}
        others = {name: value for name, value in inputs.items() if name in self.named and name != self.features}
        return {self.argument: inputs[self.features], **others}


def in_dtype(inputs: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Inputs of a model with floats of its own type; whole numbers and masks stay as they are."""
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}


def standardise(values: Tensor, lengths: Tensor, correction: int) -> Tensor:
    """Every channel of (B, T, C) with zero mean and unit variance over (B,) valid places; 0 elsewhere.

    ``correction`` is what the variance's count is lowered by.
    """
    valid = ~padding_mask(lengths, values.shape[1])[..., None]
    count = lengths[:, None, None].clamp(min=1)
    centred = (values - (values * valid).sum(1, keepdim=True) / count) * valid
    variance = centred.square().sum(1, keepdim=True) / (count - correction).clamp(min=1)
    return centred / (variance + 1.0e-7).sqrt()
