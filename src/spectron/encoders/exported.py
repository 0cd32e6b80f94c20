"""Encoder of a folder that ``spectron export`` wrote: class, sizes and weights come from the folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from spectron.config.checking import Checker
from spectron.config.composition import compose
from spectron.contracts import SpeechEncoder
from spectron.errors import ConfigError, SpectronError, UntrustedCodeError
from spectron.weights.exporting import export_parts
from spectron.weights.hub import locate
from spectron.weights.state_dicts import load_part

FILE = "config.yaml"


class ExportedEncoder(SpeechEncoder):
    """An exported encoder, trained alone (``CTCModule``) or as part of a whole model.

    Args:
        source: The folder, which holds ``config.yaml`` and the encoder's weights.
        remote_code: Whether Python code that ``config.yaml`` names may run.
        pretrained: False builds the same architecture with fresh weights.

    Raises:
        ConfigError: with the key ``source``.
    """

    def __init__(self, source: str, remote_code: bool = False, pretrained: bool = True) -> None:
        super().__init__()
        folder = locate(source)
        if not (folder / FILE).is_file():
            raise ConfigError(
                f"{source!r} ({folder}) holds no {FILE}: `spectron export` did not write it. Correct `source`",
                key="source",
            )
        try:
            self.spec, self.encoder = read_encoder(folder / FILE, remote_code, pretrained)
        except UntrustedCodeError:
            raise
        except SpectronError as error:
            raise ConfigError(f"the encoder of {source!r} cannot be built again: {error}", key="source") from error
        self.remote_code = remote_code
        self.sample_rate_hz = self.encoder.sample_rate_hz
        self.output_dim, self.frame_rate_hz = self.encoder.output_dim, self.encoder.frame_rate_hz

    def forward(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Encode (B, S) audio with (B,) valid samples into (B, U, D) features and (B,) valid steps."""
        return self.encoder(waveform, num_samples)

    def save(self, folder: Path, half: bool = False) -> dict[str, Any]:
        """Write the encoder as an export of a recogniser without its output layer."""
        config = {"task": "spectron.training.CTCModule", "model": {"encoder": self.spec}}
        export_parts(nn.ModuleDict({"encoder": self.encoder}), config, folder, half)
        return {"remote_code": self.remote_code}


def read_encoder(path: Path, remote_code: bool, pretrained: bool) -> tuple[dict[str, Any], SpeechEncoder]:
    """Return configuration and encoder of the ``config.yaml`` of an export.

    Raises:
        SpectronError: if the file names no encoder, the encoder is not allowed or cannot be built, or the weights do
            not cover it.
    """
    composition = replace(compose(path, stored=True, trust=remote_code), allowed_by="`remote_code: true`")
    spec = (composition.values.get("model") or {}).get("encoder")
    if not isinstance(spec, dict):
        raise ConfigError(f"{path} has no model.encoder", file=path)
    in_own_format = "source" in (spec.get("init_args") or {})
    if in_own_format and not pretrained:
        spec["init_args"]["pretrained"] = False
    encoder = Checker(composition).value(spec, SpeechEncoder, ("model", "encoder")).build()
    if pretrained and not in_own_format:
        weights = (composition.values.get("weights") or {}).get("encoder")
        if weights is None:
            raise ConfigError(f"{path} has no weights.encoder", file=path)
        load_part(encoder, Path(weights), "encoder")
    return spec, encoder
