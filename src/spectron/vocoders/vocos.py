"""Vocos: ConvNeXt blocks at the frame rate predict magnitude and phase of every frame; an inverse STFT makes the waveform of them.

Source: Siuzdak 2023 (arXiv:2306.00814). Module names are those of its published weights, which therefore load. Differences: padded
frames are hidden from every convolution and from the overlap-add, so that a batch gives what its rows give; frame t is centred on
sample ``t * hop`` and T frames give ``T * hop`` samples.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from spectron.audio.mel import MelConfig, padding_mask
from spectron.contracts import Vocoder
from spectron.errors import ConfigError
from spectron.hub import locate, reading, require_safetensors
from spectron.weights import require_cover

LARGEST_MAGNITUDE = 1.0e2  # as published: keeps an untrained exponential from overflowing
SETTINGS_FILE, WEIGHTS_FILE = "vocos.json", "model.safetensors"


@dataclass
class VocosSettings:
    """Size of a Vocos; the defaults are the published 24 kHz model's.

    Args:
        width: Channels of the ConvNeXt blocks.
        layers: Blocks.
        feedforward: Channels inside a block.
        kernel: Frames seen by a block's convolution, an odd number.
        fft_size: Samples in a synthesis frame; None takes the spectrogram's window.
    """

    width: int = 512
    layers: int = 8
    feedforward: int = 1536
    kernel: int = 7
    fft_size: int | None = None

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}")


VOCOS = VocosSettings()


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over frames, then a two-layer network a frame, scaled by a learned vector and added."""

    def __init__(self, settings: VocosSettings) -> None:
        super().__init__()
        width, kernel = settings.width, settings.kernel
        self.dwconv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1 = nn.Linear(width, settings.feedforward)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(settings.feedforward, width)
        self.gamma = nn.Parameter(torch.full((width,), 1 / settings.layers))

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        """Frames (B, D, T), of which ``padding`` (B, 1, T) is True at those that are none."""
        y = self.dwconv(x.masked_fill(padding, 0.0)).transpose(1, 2)
        y = self.gamma * self.pwconv2(self.act(self.pwconv1(self.norm(y))))
        return x + y.transpose(1, 2)


class Backbone(nn.Module):
    """Log-mel (B, M, T) to features (B, T, D)."""

    def __init__(self, bands: int, settings: VocosSettings) -> None:
        super().__init__()
        self.embed = nn.Conv1d(bands, settings.width, settings.kernel, padding=settings.kernel // 2)
        self.norm = nn.LayerNorm(settings.width, eps=1e-6)
        self.convnext = nn.ModuleList(ConvNeXtBlock(settings) for _ in range(settings.layers))
        self.final_layer_norm = nn.LayerNorm(settings.width, eps=1e-6)
        self.apply(_initialise)

    def forward(self, mel: Tensor, padding: Tensor) -> Tensor:
        """``padding`` (B, 1, T) is True at frames that are none."""
        x = self.embed(mel.masked_fill(padding, 0.0))
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        for block in self.convnext:
            x = block(x, padding)
        return self.final_layer_norm(x.transpose(1, 2))


class InverseSTFTHead(nn.Module):
    """Features (B, T, D) to magnitude and phase, and these to a waveform by overlap-add."""

    window: Tensor

    def __init__(self, width: int, fft_size: int, hop: int) -> None:
        super().__init__()
        self.fft_size, self.hop = fft_size, hop
        self.out = nn.Linear(width, fft_size + 2)
        self.register_buffer("window", torch.hann_window(fft_size), persistent=False)
        _initialise(self.out)

    def forward(self, features: Tensor, padding: Tensor) -> Tensor:
        """Waveform (B, T * hop)."""
        magnitude, phase = self.out(features).float().chunk(2, dim=-1)  # (B, T, F)
        spectrum = torch.polar(magnitude.exp().clamp(max=LARGEST_MAGNITUDE), phase)
        valid = ~padding.transpose(1, 2)  # (B, T, 1)
        frames = torch.fft.irfft(spectrum, self.fft_size, dim=-1) * self.window * valid
        # Divided by the windows that a row really has: a row that ends inside its batch ends as it would alone.
        envelope = self.overlap_add(self.window.square() * valid.to(frames.dtype))
        return self.overlap_add(frames) / envelope.clamp(min=1e-8)

    def overlap_add(self, frames: Tensor) -> Tensor:
        """Frames (B, T, L), each a hop after the last and centred on its own sample, to their sum (B, T * hop)."""
        length, centre = frames.shape[1] * self.hop, self.fft_size // 2
        size = (1, (frames.shape[1] - 1) * self.hop + self.fft_size)
        summed = functional.fold(frames.transpose(1, 2), size, (1, self.fft_size), stride=(1, self.hop))[:, 0, 0]
        return functional.pad(summed, (0, length))[:, centre : centre + length]


class VocosVocoder(Vocoder):
    """A Vocos of any size: trained by ``spectron.vocoding.VocoderModule``, or with weights of its own.

    Args:
        mel: Spectrogram settings of the speech head (supplied by the platform).
        source: Folder or hub name of a trained one, which brings its settings along; None starts untrained, of size ``vocos``.
        revision: Revision on the hub.
        vocos: Size of an untrained one.

    Raises:
        ConfigError: if the source cannot be read, or was trained on another spectrogram than the speech head's.
    """

    def __init__(self, mel: MelConfig, source: str | None = None, revision: str | None = None, vocos: VocosSettings = VOCOS) -> None:
        super().__init__()
        self.mel = mel
        folder = None if source is None else locate(source, revision)
        self.settings = vocos if folder is None else self.settings_of(folder, str(source))
        self.backbone = Backbone(mel.mel_bins, self.settings)
        self.head = InverseSTFTHead(self.settings.width, self.settings.fft_size or mel.window_samples, mel.hop_samples)
        if folder is not None:
            require_safetensors(folder, str(source))
            with reading(str(source), "a Vocos vocoder"):
                tensors = load_file(folder / WEIGHTS_FILE)
                require_cover(self.state_dict(), tensors, str(folder))
                self.load_state_dict(tensors)

    def settings_of(self, folder: Path, source: str) -> VocosSettings:
        """Size of a trained one, after its spectrogram has been compared with the speech head's."""
        with reading(source, "a Vocos vocoder"):
            stored = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
            own, settings = MelConfig(**stored["mel"]), VocosSettings(**stored["vocos"])
        if own != self.mel:
            raise ConfigError(f"source: {source!r} was trained on {own}, the speech head's spectrogram is {self.mel}")
        return settings

    def forward(self, mel: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        """Log-mel (B, T, M) with (B,) valid frames to waveform (B, S) and (B,) valid samples, one hop a frame."""
        padding = padding_mask(num_frames, mel.shape[1])[:, None]  # (B, 1, T)
        if mel.shape[1] == 0:
            return mel.new_zeros(len(mel), 0), num_frames * self.mel.hop_samples
        waveform = self.head(self.backbone(mel.transpose(1, 2), padding), padding)
        num_samples = num_frames * self.mel.hop_samples
        return waveform.masked_fill(padding_mask(num_samples, waveform.shape[1]), 0.0), num_samples

    def save(self, folder: Path, half: bool = False) -> dict[str, Any]:
        """Write weights (in 16-bit floats if ``half``) and settings, spectrogram included, so that ``source: <folder>`` loads them."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        save_file({name: value.half() if half else value for name, value in tensors.items()}, folder / WEIGHTS_FILE)
        stored = {"mel": asdict(self.mel), "vocos": asdict(self.settings)}
        (folder / SETTINGS_FILE).write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
        return {}


def _initialise(module: nn.Module) -> None:
    """Small normal weights, as published."""
    if isinstance(module, nn.Conv1d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
