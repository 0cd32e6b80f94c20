"""Recognisers of the generated speech: exported CTC models and PocketSphinx."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from spectron.errors import ConfigError, DataError, require_extra
from spectron.evaluation.judges.chunking import by_pieces, join_texts
from spectron.evaluation.judges.judge import Transcriber
from spectron.evaluation.judges.lexicon import Lexicon
from spectron.text_files import read_text

if TYPE_CHECKING:
    from spectron.training.ctc import CTCModel


class CTCTranscriber(Transcriber):
    """A CTC model that was trained with this platform and exported. Recordings above 30 s are cut at quiet places.

    Args:
        folder: Folder that ``spectron export`` wrote.
        lexicon: Text file with one word per line, to which the output is restricted; None lets the model spell freely.
        remote_code: Whether Python code that the folder names may run.

    Raises:
        ConfigError: if folder or file does not exist, or, at ``load``, if the folder contains another kind of model or
            the model cannot spell the words.
    """

    def __init__(self, folder: str, lexicon: str | None = None, remote_code: bool = False) -> None:
        super().__init__()
        if not (Path(folder) / "config.yaml").is_file():
            raise ConfigError(
                f"{folder} has no config.yaml; name a folder that `spectron export` wrote from a CTC run", key="folder"
            )
        if lexicon is not None and not Path(lexicon).is_file():
            raise ConfigError(
                f"there is no file {lexicon}; name a text file with one word per line", key="lexicon", file=lexicon
            )
        self.folder, self.lexicon_file, self.remote_code = folder, lexicon, remote_code
        self.lexicon: Lexicon | None = None
        self.model: CTCModel

    @property
    def title(self) -> str:
        """Return class and folder."""
        return f"CTCTranscriber({self.folder}{'' if self.lexicon_file is None else f', {self.lexicon_file}'})"

    def weight_files(self) -> list[Path]:
        """Return the lexicon, which determines the output like the weights."""
        return [] if self.lexicon_file is None else [Path(self.lexicon_file)]

    def load(self) -> None:
        """Build the model of the folder and load its weights."""
        from spectron.experiment.loading import Source, load_experiment
        from spectron.training.ctc import CTCModel

        source = Source(Path(self.folder) / "config.yaml")
        module = load_experiment(source, model_only=True, trust=self.remote_code).module()
        model = getattr(module, "model", module)
        if not isinstance(model, CTCModel):
            raise ConfigError(
                f"{self.folder} contains a {type(model).__name__}; a recogniser must be a CTCModel", key="folder"
            )
        self.model = model
        self.lexicon = None if self.lexicon_file is None else Lexicon.read(Path(self.lexicon_file), model.characters)

    def transcribe(self, waveforms: list[Tensor], sample_rate_hz: int) -> list[str]:
        """Return the words of each waveform (S,)."""
        device = next(self.model.parameters()).device
        return join_texts(
            by_pieces(waveforms, sample_rate_hz, self.model.encoder.sample_rate_hz, device, self.recognise)
        )

    def recognise(self, waveforms: list[Tensor]) -> list[str]:
        """Return the words of waveforms (S,) at the model's rate."""
        num_samples = torch.tensor([len(row) for row in waveforms], device=waveforms[0].device)
        padded = pad_sequence(waveforms, batch_first=True)
        if self.lexicon is None:
            return self.model.transcribe(padded, num_samples)
        log_probabilities, num_steps = self.model(padded, num_samples)
        return [
            self.lexicon.decode(row[:steps]) for row, steps in zip(log_probabilities, num_steps.tolist(), strict=True)
        ]


class PocketSphinxTranscriber(Transcriber):
    """CMU PocketSphinx with the American English models of its wheel: independent of all models trained here.

    It recognises open English with a dictionary of 134 000 words, about five times faster than real time. On clean read
    speech it is far worse than a neural recogniser, so compare its word error rates with the vocoder's ceiling.
    Recordings above 30 s are cut at quiet places.

    Args:
        grammar: File of sentences in JSGF, to which the output is restricted; None recognises open English.
        pronunciations: Words of the grammar that the dictionary lacks, each with its phones: ``{oink: OY NG K}``.
        dither: Add the same noise of half a step of 16 bits to each recording. Synthetic speech can contain digital
            silence between words, which causes errors.

    Raises:
        ConfigError: if the package is not installed, the file does not exist, or, at ``load``, the grammar is invalid.
    """

    RATE_HZ = 16000
    PAUSE_SAMPLES = 3200  # 0.2 s

    def __init__(
        self, grammar: str | None = None, pronunciations: dict[str, str] | None = None, dither: bool = False
    ) -> None:
        super().__init__()
        if grammar is not None and not Path(grammar).is_file():
            raise ConfigError(
                f"there is no file {grammar}; name a file of sentences in JSGF", key="grammar", file=grammar
            )
        self.grammar, self.pronunciations, self.dither = grammar, pronunciations or {}, dither
        require_extra("judges", "PocketSphinxTranscriber", "pocketsphinx")
        import pocketsphinx

        self.package = pocketsphinx

    @property
    def title(self) -> str:
        """Return class, package and models."""
        held = "" if self.grammar is None else f", {self.grammar}"
        return (
            f"PocketSphinxTranscriber(pocketsphinx {version('pocketsphinx')}, en-us{held}{', dithered' * self.dither})"
        )

    def load(self) -> None:
        """Start the decoder."""
        settings: dict[str, Any] = {"dither": True, "seed": 1} if self.dither else {}
        if self.grammar is not None:
            settings["lm"] = None
        self.decoder = self.package.Decoder(samprate=self.RATE_HZ, loglevel="FATAL", **settings)
        if self.grammar is not None:
            self._restrict_to(Path(self.grammar))

    def _restrict_to(self, grammar: Path) -> None:
        """Restrict the decoder to the sentences of a file."""
        for word, phones in self.pronunciations.items():
            self.decoder.add_word(word, phones, True)
        try:
            sentences = read_text(grammar)
        except DataError as error:
            raise ConfigError(error.message, key="grammar", file=grammar) from error
        try:
            self.decoder.add_jsgf_string("sentences", sentences)
        except ValueError as error:
            spelt = re.sub(r"//[^\n]*|#JSGF[^;]*;|grammar [^;]*;|<[^>]*>|\bpublic\b", "", sentences)
            unknown = sorted(
                {word for word in re.findall(r"[\w'.-]+", spelt) if self.decoder.lookup_word(word) is None}
            )
            told = (
                f"its dictionary lacks {', '.join(unknown)}: add their phones to `pronunciations`"
                if unknown
                else "it is no JSGF"
            )
            raise ConfigError(f"{grammar} cannot be used, {told}", key="grammar") from error
        self.decoder.activate_search("sentences")

    def transcribe(self, waveforms: list[Tensor], sample_rate_hz: int) -> list[str]:
        """Return the words of each waveform (S,)."""
        return join_texts(by_pieces(waveforms, sample_rate_hz, self.RATE_HZ, torch.device("cpu"), self.recognise))

    def weight_files(self) -> list[Path]:
        """Return acoustic model, language model, dictionary and grammar, all of which determine the output."""
        models = [path for path in Path(self.package.get_model_path("en-us")).rglob("*") if path.is_file()]
        return models if self.grammar is None else [*models, Path(self.grammar)]

    def recognise(self, waveforms: list[Tensor]) -> list[str]:
        """Return the words of waveforms (S,) at 16 kHz."""
        return [self.recognise_one(waveform) for waveform in waveforms]

    def recognise_one(self, waveform: Tensor) -> str:
        """Return the words of one waveform (S,) at 16 kHz."""
        samples = (waveform.clamp(-1, 1) * 32767).round().to(torch.int16)
        # Below one step of 16 bits is digital silence, which has no logarithm and breaks the decoder's normalisation.
        if not samples.any():
            return ""
        if self.grammar is not None:
            # Sentences begin and end with silence. Without it, the end of a tightly cut recording is lost.
            samples = torch.nn.functional.pad(samples, (self.PAUSE_SAMPLES, self.PAUSE_SAMPLES))
        # A result must not depend on earlier recordings: the new front end has no estimate of the noise, and
        # ``full_utt`` computes the cepstral mean from this recording alone.
        self.decoder.reinit_feat(self.decoder.config)
        self.decoder.start_utt()
        self.decoder.process_raw(samples.numpy().astype("<i2").tobytes(), full_utt=True)
        self.decoder.end_utt()
        hypothesis = self.decoder.hyp()
        return "" if hypothesis is None else hypothesis.hypstr
