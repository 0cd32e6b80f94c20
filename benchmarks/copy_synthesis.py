"""Vocoders on true spectrograms: how far speech comes from the recording on its way to a spectrogram and back.

Run: python benchmarks/copy_synthesis.py <manifest.jsonl> <folder or hub name of a HiFi-GAN> [--items 32]

The spectrogram is the HiFi-GAN's. Printed for the recordings, Griffin-Lim and the HiFi-GAN: mean absolute log-mel difference (a frame
and band), word error rate by PocketSphinx against the manifest's text, cosine of resemblyzer's embeddings with the recording, and
seconds of computing a second of speech.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from evaluation.judges import PocketSphinxTranscriber, ResemblyzerEmbedder
from evaluation.metrics.word_errors import word_errors
from spectron.audio.io import read_audio
from spectron.audio.mel import LogMel
from spectron.audio.resampling import resample
from spectron.hub import locate
from spectron.vocoders import GriffinLimVocoder, HiFiGANVocoder
from spectron.vocoders.hifigan import read_generator, settled

Speak = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def measure(name: str, speak: Speak | None, recordings: list[Tensor], texts: list[str], log_mel: LogMel) -> str:
    """One line of the table; ``speak`` is None for the recordings themselves."""
    rate = log_mel.config.sample_rate_hz
    spoken, differences, seconds = [], [], 0.0
    for recording in recordings:
        mel, num_frames = log_mel(recording[None], torch.tensor([len(recording)]))
        began = time.perf_counter()
        waveform = recording if speak is None else speak(mel, num_frames)[0][0]
        seconds += time.perf_counter() - began
        again, _ = log_mel(waveform[None], torch.tensor([len(waveform)]))
        differences.append((again - mel).abs().mean(dim=(0, 2)))
        spoken.append(waveform)
    transcriber, embedder = PocketSphinxTranscriber(), ResemblyzerEmbedder()
    with transcriber.at_work(torch.device("cpu")), embedder.at_work(torch.device("cpu")):
        heard = transcriber.transcribe(spoken, rate)
        likeness = torch.cosine_similarity(embedder.embed(spoken, rate), embedder.embed(recordings, rate))
    counts = torch.tensor([word_errors(text, words) for text, words in zip(texts, heard, strict=True)]).sum(0)
    share = seconds / sum(len(recording) for recording in recordings) * rate
    row = (name, f"{torch.cat(differences).mean():.3f}", f"{counts[0] / counts[1]:.3f}", f"{likeness.mean():.3f}", f"{share:.3f}")
    return "".join(cell.ljust(16) for cell in row)


@torch.inference_mode()
def main() -> None:
    """Read the recordings, and measure each vocoder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("hifigan")
    parser.add_argument("--items", type=int, default=32)
    arguments = parser.parse_args()
    mel = settled(read_generator(locate(arguments.hifigan), arguments.hifigan).trained_on, None, arguments.hifigan)
    lines = [json.loads(line) for line in arguments.manifest.read_text(encoding="utf-8").splitlines()[: arguments.items]]
    recordings = []
    for line in lines:
        recording, rate = read_audio(arguments.manifest.parent / line["audio_filepath"])
        recordings.append(resample(recording, rate, mel.sample_rate_hz))
    print("".join(cell.ljust(16) for cell in ("", "log-mel L1", "WER", "similarity", "real-time factor")))
    systems: dict[str, Speak | None] = {
        "recording": None,
        "Griffin-Lim": GriffinLimVocoder(mel).eval(),
        "HiFi-GAN": HiFiGANVocoder(mel, arguments.hifigan).eval(),
    }
    for name, speak in systems.items():
        print(measure(name, speak, recordings, [line["text"] for line in lines], LogMel(mel)), flush=True)


if __name__ == "__main__":
    main()
