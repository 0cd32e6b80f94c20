"""Frame-stacking speech encoder: the smallest part that obeys the encoder contract.

Joins every ``stack`` neighbouring log-mel frames into one vector and projects it. A vector depends on its own stack
only, so the encoder is the baseline in encoder comparisons.

Source: Sak et al. 2015 (arXiv:1507.06947); one linear layer here, an LSTM in the paper.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import pad

from spectron.audio.mel import LogMel, MelConfig
from spectron.contracts import SpeechEncoder
from spectron.ranges import Size, checks_ranges


@checks_ranges
class FrameStackEncoder(SpeechEncoder):
    """Log-mel frames, stacked ``stack`` at a time, then projected.

    Args:
        output_dim: Width D of each output vector; None gives the stacked frames themselves, which a residual quantiser
            can name and turn back into a spectrogram.
        stack: Mel frames per output vector.
        mel: Spectrogram settings.
    """

    def __init__(self, output_dim: Size | None = None, stack: Size = 4, mel: MelConfig | None = None) -> None:
        super().__init__()
        mel = mel or MelConfig(frame_shift_ms=10.0, window_ms=25.0, n_mels=80)
        self.sample_rate_hz = mel.sample_rate_hz
        self.frame_rate_hz = mel.frame_rate_hz / stack
        self.output_dim = output_dim or stack * mel.n_mels
        self.stack = stack
        self.mel = mel
        self.log_mel = LogMel(mel)
        self.project = nn.Linear(stack * mel.n_mels, output_dim) if output_dim else nn.Identity()

    def forward(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Encode (B, S) audio with (B,) valid samples into (B, U, D) and (B,)."""
        mel, num_frames = self.log_mel(waveform, num_samples)  # (B, T, M), padded frames are 0
        mel = pad(mel, (0, 0, 0, -mel.shape[1] % self.stack))
        stacks = mel.unflatten(1, (-1, self.stack)).flatten(2)  # (B, U, stack * M)
        return self.project(stacks), -(-num_frames // self.stack)
