"""HiFi-GAN in its three published formats: numbers of its libraries, single rows, errors, export."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch.nn import functional
from vocoders import (
    LJ_SPEECH,
    hifigan_config,
    write_authors_hifigan,
    write_speechbrain_hifigan,
    write_transformers_hifigan,
)

from spectron.audio.io import read_audio
from spectron.audio.mel import LogMel, MelConfig
from spectron.errors import ConfigError, SpectronError
from spectron.vocoders import HiFiGANVocoder, MelFormat
from spectron.weights.exporting import export_parts

MEL = MelConfig(16000, 2.0, 8.0, 12, 0.0, 8000.0, 1e-5, "slaney", True)  # hop 32, window and FFT 128
LJ = MelConfig(22050, 11.61, 46.44, 80, 0.0, 8000.0, 1e-5, "slaney", True)
DATA = Path(os.environ.get("SPECTRON_DATA", ""))
FOLDERS = {
    "authors": write_authors_hifigan,
    "transformers": write_transformers_hifigan,
    "speechbrain": write_speechbrain_hifigan,
}


def authors_generator(mel: torch.Tensor, tensors: dict[str, torch.Tensor], config: dict) -> torch.Tensor:
    """Compute the paper's generator with plain functions of the published tensors: (1, M, T) to (1, 1, S)."""

    def parts(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        direction = tensors[f"{name}.weight_v"]
        return tensors[f"{name}.weight_g"] * direction / direction.norm(dim=(1, 2), keepdim=True), tensors[
            f"{name}.bias"
        ]

    def convolve(x: torch.Tensor, name: str, dilation: int = 1) -> torch.Tensor:
        weight, bias = parts(name)
        return functional.conv1d(x, weight, bias, padding=dilation * (weight.shape[2] - 1) // 2, dilation=dilation)

    x = convolve(mel, "conv_pre")
    for stage, (rate, kernel) in enumerate(zip(config["upsample_rates"], config["upsample_kernel_sizes"], strict=True)):
        x = functional.conv_transpose1d(
            functional.leaky_relu(x, 0.1), *parts(f"ups.{stage}"), stride=rate, padding=(kernel - rate) // 2
        )
        blocks = []
        for block, dilations in enumerate(config["resblock_dilation_sizes"]):
            y, name = x, f"resblocks.{stage * 2 + block}"
            for layer, dilation in enumerate(dilations):
                if config["resblock"] == "1":
                    z = convolve(functional.leaky_relu(y, 0.1), f"{name}.convs1.{layer}", dilation)
                    y = y + convolve(functional.leaky_relu(z, 0.1), f"{name}.convs2.{layer}")
                else:
                    y = y + convolve(functional.leaky_relu(y, 0.1), f"{name}.convs.{layer}", dilation)
            blocks.append(y)
        x = sum(blocks) / len(blocks)
    return torch.tanh(convolve(functional.leaky_relu(x, 0.01), "conv_post"))


def spectrogram(frames: int = 30, mel: MelConfig = MEL) -> torch.Tensor:
    return torch.randn(1, frames, mel.n_mels, generator=torch.Generator().manual_seed(1)) * 2 - 3


def vocode(vocoder: HiFiGANVocoder, mel: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        waveform, num_samples = vocoder(mel, torch.tensor([mel.shape[1]]))
    assert num_samples.tolist() == [mel.shape[1] * vocoder.format.hop_samples]
    assert waveform.shape == (1, num_samples[0])
    return waveform[0]


@pytest.mark.parametrize("kind", ["1", "2"])
def test_authors_weights_give_authors_numbers(kind, tmp_path):
    folder = write_authors_hifigan(tmp_path / "hifigan", kind)
    mel = spectrogram()
    late = torch.cat([mel, mel[:, -1:]], dim=1).transpose(1, 2)
    config = hifigan_config(kind)
    expected = authors_generator(late, load_file(folder / "generator.safetensors"), config)[0, 0, 16 : 16 + 30 * 32]
    assert expected.std() > 0.05
    torch.testing.assert_close(vocode(HiFiGANVocoder(MEL, str(folder)), mel), expected, atol=1e-5, rtol=1e-4)


def test_random_weights_accept_published_settings(tmp_path):
    folder = write_authors_hifigan(tmp_path / "hifigan", "2", LJ_SPEECH)
    assert vocode(HiFiGANVocoder(LJ, str(folder)), spectrogram(3, LJ)).isfinite().all()


def test_res_names_are_the_same_blocks(tmp_path):
    folder = write_authors_hifigan(tmp_path / "hifigan", "2")
    expected = vocode(HiFiGANVocoder(MEL, str(folder)), spectrogram())
    renamed = {}
    for name, value in load_file(folder / "generator.safetensors").items():
        first, _, rest = name.partition(".")
        block, _, rest = rest.partition(".") if first == "resblocks" else ("", "", rest)
        renamed[f"res.{int(block) // 2}.{int(block) % 2}.{rest.removeprefix('convs.')}" if block else name] = value
    assert "res.1.1.0.bias" in renamed
    save_file(renamed, folder / "generator.safetensors")
    config = hifigan_config("2")
    del config["resblock"]  # the dilations tell
    (folder / "config.json").write_text(json.dumps(config))
    torch.testing.assert_close(vocode(HiFiGANVocoder(MEL, str(folder)), spectrogram()), expected)


def test_transformers_folder_gives_its_librarys_numbers(tmp_path):
    from transformers import SpeechT5HifiGan

    folder = write_transformers_hifigan(tmp_path / "hifigan")
    head = replace(MEL, floor=1e-10)
    mel = spectrogram()
    with torch.no_grad():
        expected = SpeechT5HifiGan.from_pretrained(folder)(mel / torch.tensor(10.0).log())[0]
    assert expected.std() > 0.05
    # The two divide by ln 10 in another order, and the tiny generator's large weights make more of it.
    torch.testing.assert_close(vocode(HiFiGANVocoder(head, str(folder)), mel), expected, atol=1e-4, rtol=1e-4)


def test_speechbrain_folder_gives_library_numbers_and_runs_no_tag(tmp_path):
    from speechbrain.lobes.models.HifiGAN import HifiganGenerator

    folder = write_speechbrain_hifigan(tmp_path / "hifigan")
    sizes = {
        "upsample_kernel_sizes": [16, 8],
        "upsample_initial_channel": 16,
        "upsample_factors": [8, 4],
        "resblock_kernel_sizes": [3, 5],
    }
    generator = HifiganGenerator(12, 1, "1", [[1, 3, 5], [1, 3, 5]], **sizes)
    generator.load_state_dict(torch.load(folder / "generator.ckpt", weights_only=True))
    mel = spectrogram()
    expected = generator.inference(mel.transpose(1, 2))[0, 0, 5 * 32 : -5 * 32]
    torch.testing.assert_close(vocode(HiFiGANVocoder(MEL, str(folder)), mel), expected, atol=1e-5, rtol=1e-4)
    assert vocode(HiFiGANVocoder(MEL, str(folder)), spectrogram(1)).isfinite().all()
    assert not (folder / "trap").exists()


def test_normalised_magnitudes_of_speechbrain_become_gain(tmp_path):
    vocoder = HiFiGANVocoder(MEL, str(write_speechbrain_hifigan(tmp_path / "hifigan", "True")))
    gain = torch.hann_window(128).square().sum().rsqrt()
    torch.testing.assert_close(vocoder.bridge.offset, gain.log().expand(12))


@pytest.mark.parametrize("name", FOLDERS)
def test_batch_gives_what_its_rows_give(name, tmp_path):
    head = replace(MEL, floor=1e-10) if name == "transformers" else MEL
    vocoder = HiFiGANVocoder(head, str(FOLDERS[name](tmp_path / "hifigan")))
    mel, frames = torch.cat([spectrogram(), spectrogram() + 1, spectrogram()]), torch.tensor([30, 7, 0])
    waveform, num_samples = vocoder(mel, frames)
    assert num_samples.tolist() == [960, 224, 0]
    torch.testing.assert_close(waveform[1, :224], vocode(vocoder, mel[1:2, :7]), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("half", [False, True])
def test_exported_vocoder_gives_same_waveform(name, half, tmp_path):
    source = str(FOLDERS[name](tmp_path / "hifigan"))
    head = replace(MEL, floor=1e-10) if name == "transformers" else replace(MEL, area_norm=False)
    model = torch.nn.Module()
    model.vocoder = HiFiGANVocoder(head, source, bridge="exact")
    config = {
        "task": "none",
        "model": {"vocoder": {"class_path": "spectron.vocoders.HiFiGANVocoder", "init_args": {"source": source}}},
    }
    export_parts(model, config, tmp_path, half)
    arguments = yaml.safe_load((tmp_path / "config.yaml").read_text())["model"]["vocoder"]["init_args"]
    assert arguments["source"] == "${here}/vocoder"
    again = HiFiGANVocoder(head, **arguments | {"source": str(tmp_path / "vocoder")})
    difference = (vocode(again, spectrogram()) - vocode(model.vocoder, spectrogram())).abs()
    assert difference.mean() < (1e-2 if half else 1e-6)


def test_folder_without_settings_needs_trained_on(tmp_path):
    folder = str(write_transformers_hifigan(tmp_path / "hifigan", described=False))
    with pytest.raises(ConfigError, match=r"\{sample_rate_hz: 16000, frame_shift_ms: 16.0") as raised:
        HiFiGANVocoder(MEL, folder)
    assert raised.value.key == "trained_on"
    vocoder = HiFiGANVocoder(MEL, folder, trained_on=MEL, mel_format=MelFormat(log="natural"))
    arguments = vocoder.save(tmp_path / "again")
    assert arguments["trained_on"]["n_mels"] == 12
    assert arguments["mel_format"]["log"] == "natural"
    with pytest.raises(ConfigError, match=r"makes 32 samples of a frame, but its .* state 64") as raised:
        HiFiGANVocoder(MEL, folder, trained_on=replace(MEL, frame_shift_ms=4.0))
    assert raised.value.key == "source"


def test_trained_on_is_refused_if_folder_has_settings(tmp_path):
    with pytest.raises(ConfigError, match="Remove the key") as raised:
        HiFiGANVocoder(MEL, str(write_authors_hifigan(tmp_path / "hifigan")), trained_on=MEL)
    assert raised.value.key == "trained_on"


@pytest.mark.parametrize("name", FOLDERS)
def test_other_spectrogram_is_refused(name, tmp_path):
    with pytest.raises(
        ConfigError, match=r"^source: .*n_mels is 12, the head has 128.*model\.head\.init_args\.mel: \{"
    ):
        HiFiGANVocoder(MelConfig(), str(FOLDERS[name](tmp_path / "hifigan")))


def test_16_bit_weights_give_nearly_the_same_waveform(tmp_path):
    folder = str(write_authors_hifigan(tmp_path / "hifigan"))
    exact = vocode(HiFiGANVocoder(MEL, folder), spectrogram())
    rounded = vocode(HiFiGANVocoder(MEL, folder, dtype="bfloat16"), spectrogram())
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().mean() < 0.05


def test_generator_gets_gradients(tmp_path):
    vocoder = HiFiGANVocoder(MEL, str(write_authors_hifigan(tmp_path / "hifigan")))
    vocoder(spectrogram(), torch.tensor([30]))[0].square().sum().backward()
    assert all(parameter.grad is not None for parameter in vocoder.parameters())


def edit_config(folder: Path, **changes) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({key: value for key, value in (config | changes).items() if value != "gone"})
    )


BROKEN = {
    "no format": (write_authors_hifigan, lambda f: (f / "config.json").unlink(), "is no HiFi-GAN. It needs"),
    "a missing key": (write_authors_hifigan, lambda f: edit_config(f, win_size="gone"), "KeyError: 'win_size'"),
    "an odd FFT": (
        write_authors_hifigan,
        lambda f: edit_config(f, n_fft=256),
        "FFT of 256 samples and a window of 128",
    ),
    "another size": (
        write_authors_hifigan,
        lambda f: edit_config(f, upsample_initial_channel=32),
        "tensors differ in shape",
    ),
    "no weights": (
        write_authors_hifigan,
        lambda f: (f / "generator.safetensors").unlink(),
        r"contains no \*\.safetensors",
    ),
    "two files": (
        write_authors_hifigan,
        lambda f: shutil.copy(f / "generator.safetensors", f / "b.safetensors"),
        "contains 2 files of weights",
    ),
    "broken weights": (
        write_authors_hifigan,
        lambda f: (f / "generator.safetensors").write_bytes(b"no"),
        "is no whole safetensors file",
    ),
    "no checkpoint": (write_speechbrain_hifigan, lambda f: (f / "generator.ckpt").unlink(), "hf download"),
    "a pickle": (
        write_speechbrain_hifigan,
        lambda f: torch.save(Path("/"), f / "generator.ckpt"),
        "holds more than tensors and plain values",
    ),
    "power": (
        write_speechbrain_hifigan,
        lambda f: (f / "hyperparams.yaml").write_text(
            (f / "hyperparams.yaml").read_text().replace("power: 1", "power: 2")
        ),
        "spectrograms of power 2 with a logarithm",
    ),
    "another class": (
        write_speechbrain_hifigan,
        lambda f: (f / "hyperparams.yaml").write_text(
            (f / "hyperparams.yaml").read_text().replace("HifiganGen", "UnitHifiganGen")
        ),
        "UnitHifiganGenerator, not an unconditioned HifiganGenerator",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_folder_is_refused_with_reason(case, tmp_path):
    make, spoil, message = BROKEN[case]
    folder = make(tmp_path / "hifigan")
    spoil(folder)
    with pytest.raises(SpectronError, match=f"^source: .*{message}"):
        HiFiGANVocoder(MEL, str(folder))


@pytest.mark.skipif(
    not (DATA / "hifigan_v3_lj").is_dir(), reason="SPECTRON_DATA names no folder with hifigan_v3_lj and ljspeech_mini"
)
def test_published_weights_reproduce_recording():
    vocoder = HiFiGANVocoder(LJ, str(DATA / "hifigan_v3_lj"))
    first = json.loads((DATA / "ljspeech_mini" / "manifest.jsonl").read_text().splitlines()[0])
    waveform, rate = read_audio(DATA / "ljspeech_mini" / first["audio_filepath"])
    assert rate == 22050
    mel, _ = LogMel(LJ)(waveform[None, : 3 * rate], torch.tensor([3 * rate]))
    distances = {}
    for lag in (0, vocoder.bridge.lag_samples):
        vocoder.bridge.lag_samples = lag
        spoken = vocode(vocoder, mel)
        again, _ = LogMel(LJ)(spoken[None], torch.tensor([len(spoken)]))
        distances[lag] = float((again - mel).abs().mean())
    assert distances[128] < 0.37
    assert distances[0] > distances[128] + 0.05  # frames centred half a hop late: without the shift speech comes late
