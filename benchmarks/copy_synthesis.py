"""Vocoders on true spectrograms: distance of resynthesised speech from the recording.

Run: python -m benchmarks.copy_synthesis <manifest.jsonl> <vocoder> [--split dev] [--items 32] [--judge <folder>]

<vocoder> is the folder or hub name of a HiFi-GAN, or the folder of a Vocos. The judge is an exported CTC recogniser.

All systems use the spectrogram of the vocoder. For the recordings, Griffin-Lim (32 and 64 iterations) and the vocoder,
the script prints:

- the mean absolute log-mel difference per frame and band;
- the multi-resolution STFT distance (spectral convergence plus log-magnitude);
- the word error rate against the manifest's text, by PocketSphinx or the judge, and its difference to Griffin-Lim with
  a paired 95 % interval;
- the cosine similarity of resemblyzer embeddings with the recording;
- the real-time factor, in seconds of computation per second of speech.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from spectron.audio.io import read_audio
from spectron.audio.mel import LogMel, MelConfig
from spectron.audio.resampling import resample
from spectron.contracts import Vocoder
from spectron.evaluation.judges import CTCTranscriber, PocketSphinxTranscriber, ResemblyzerEmbedder, Transcriber
from spectron.evaluation.metrics import paired_bootstrap
from spectron.evaluation.metrics.word_errors import word_errors
from spectron.losses.waveform import stft_distances
from spectron.vocoders import GriffinLimVocoder, HiFiGANVocoder, VocosVocoder
from spectron.vocoders.hifigan import read_generator, settled
from spectron.vocoders.vocos import read_vocos
from spectron.weights.hub import locate

COLUMNS = ("", "log-mel L1", "STFT", "WER", "against Griffin-Lim", "similarity", "real-time factor")
BASELINE = "Griffin-Lim"


@dataclass
class Spoken:
    """Resynthesised recordings.

    Args:
        waveforms: The speech (S,).
        log_mel: Mean absolute difference of the log-mel spectrograms.
        stft: Mean STFT distance of the waveforms.
        real_time_factor: Seconds of computation per second of speech.
    """

    waveforms: list[Tensor]
    log_mel: float
    stft: float
    real_time_factor: float


def speak(vocoder: Vocoder | None, recordings: list[Tensor], log_mel: LogMel) -> Spoken:
    """Resynthesise recordings from their spectrograms; None returns them unchanged."""
    waveforms, differences, distances, seconds = [], [], [], 0.0
    for recording in recordings:
        mel, num_frames = log_mel(recording[None], torch.tensor([len(recording)]))
        began = time.perf_counter()
        waveform = recording if vocoder is None else vocoder(mel, num_frames)[0][0]
        seconds += time.perf_counter() - began
        again, _ = log_mel(waveform[None], torch.tensor([len(waveform)]))
        frames, length = min(again.shape[1], mel.shape[1]), min(len(waveform), len(recording))
        differences.append((again[:, :frames] - mel[:, :frames]).abs().mean(dim=(0, 2)))
        distances.append(float(sum(stft_distances(waveform[None, :length], recording[None, :length]))))
        waveforms.append(waveform)
    total = sum(map(len, recordings)) / log_mel.config.sample_rate_hz
    return Spoken(waveforms, float(torch.cat(differences).mean()), sum(distances) / len(distances), seconds / total)


def vocoder_of(source: str) -> tuple[MelConfig, Vocoder]:
    """Load a neural vocoder, and return the spectrogram settings that it was trained on and the vocoder."""
    folder = locate(source)
    if (folder / "vocos.json").is_file():
        mel = read_vocos(folder, source)[0].mel
        return mel, VocosVocoder(mel, source).eval()
    mel = settled(read_generator(folder, source).trained_on, None, source)
    return mel, HiFiGANVocoder(mel, source).eval()


@torch.inference_mode()
def main() -> None:
    """Read the recordings and measure each vocoder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("vocoder")
    parser.add_argument("--split", action="append", help="only utterances of this split; can be repeated")
    parser.add_argument("--items", type=int, default=32)
    parser.add_argument("--judge", help="folder of an exported CTC model; by default PocketSphinx")
    arguments = parser.parse_args()
    mel, neural = vocoder_of(arguments.vocoder)
    lines = [json.loads(line) for line in arguments.manifest.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if arguments.split is None or line["split"] in arguments.split][: arguments.items]
    recordings = [
        resample(*read_audio(arguments.manifest.parent / line["audio_filepath"]), mel.sample_rate_hz) for line in lines
    ]
    transcriber: Transcriber = CTCTranscriber(arguments.judge) if arguments.judge else PocketSphinxTranscriber()
    embedder = ResemblyzerEmbedder()
    systems: dict[str, Vocoder | None] = {
        BASELINE: GriffinLimVocoder(mel).eval(),
        "recording": None,
        f"{BASELINE} 64": GriffinLimVocoder(mel, iterations=64).eval(),
        type(neural).__name__.removesuffix("Vocoder"): neural,
    }
    print(f"{len(lines)} recordings, judged by {transcriber.title}")
    print("".join(cell.ljust(26) for cell in COLUMNS))
    errors: dict[str, list[tuple[float, float] | None]] = {}
    with transcriber.at_work(torch.device("cpu")), embedder.at_work(torch.device("cpu")):
        voices = embedder.embed(recordings, mel.sample_rate_hz)
        for name, vocoder in systems.items():
            spoken = speak(vocoder, recordings, LogMel(mel))
            heard = [transcriber.transcribe([waveform], mel.sample_rate_hz)[0] for waveform in spoken.waveforms]
            errors[name] = [word_errors(line["text"], words) for line, words in zip(lines, heard, strict=True)]
            counts = torch.tensor(errors[name]).sum(0)
            difference = paired_bootstrap(errors[name], errors[BASELINE])
            likeness = torch.cosine_similarity(embedder.embed(spoken.waveforms, mel.sample_rate_hz), voices).mean()
            against = (
                "" if name == BASELINE else f"{difference.value:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})"
            )
            figures = (f"{spoken.log_mel:.3f}", f"{spoken.stft:.3f}", f"{counts[0] / counts[1]:.4f}", against)
            print(
                "".join(
                    cell.ljust(26) for cell in (name, *figures, f"{likeness:.3f}", f"{spoken.real_time_factor:.3f}")
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
