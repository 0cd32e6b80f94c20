"""Recognisers that write down what the generated speech says."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from spectron.errors import ConfigError, require_extra
from spectron.evaluation.judges.chunking import by_pieces, join_texts
from spectron.evaluation.judges.judge import Transcriber
from spectron.evaluation.judges.lexicon import Lexicon

if TYPE_CHECKING:
    from spectron.training.ctc import CTCModel


class CTCTranscriber(Transcriber):
    """A CTC model that the project trained and exported. Recordings above 30 s are cut where they are quiet.

    Args:
        folder: Folder that ``spectron export`` wrote.
        lexicon: Text file with a word a line, the only ones that can be heard; None lets it spell freely.

    Raises:
        ConfigError: if there is no such folder or file or, at ``load``, if the folder holds another kind of model, which may also be
            unable to spell the words.
    """

    def __init__(self, folder: str, lexicon: str | None = None) -> None:
        super().__init__()
        if not (Path(folder) / "config.yaml").is_file():
            raise ConfigError(
                f"CTCTranscriber.folder: {folder} has no config.yaml; name a folder that `spectron export` wrote from a CTC run"
            )
        if lexicon is not None and not Path(lexicon).is_file():
            raise ConfigError(
                f"CTCTranscriber.lexicon: there is no file {lexicon}; name a text file with a word a line"
            )
        self.folder, self.lexicon_file = folder, lexicon
        self.lexicon: Lexicon | None = None
        self.model: CTCModel

    @property
    def title(self) -> str:
        """Class and folder."""
        return f"CTCTranscriber({self.folder}{'' if self.lexicon_file is None else f', {self.lexicon_file}'})"

    def weight_files(self) -> list[Path]:
        """The words make what is heard as the weights do."""
        return [] if self.lexicon_file is None else [Path(self.lexicon_file)]

    def load(self) -> None:
        """Build the model that the folder describes, with its weights."""
        from spectron.experiment.experiment import Experiment
        from spectron.training.ctc import CTCModel

        module = Experiment.read(Path(self.folder) / "config.yaml", model_only=True).module()
        model = getattr(module, "model", module)
        if not isinstance(model, CTCModel):
            raise ConfigError(
                f"CTCTranscriber.folder: {self.folder} holds a {type(model).__name__}; a CTCModel is needed to hear words"
            )
        self.model = model
        self.lexicon = None if self.lexicon_file is None else Lexicon.read(Path(self.lexicon_file), model.characters)

    def transcribe(self, waveforms: list[Tensor], sample_rate_hz: int) -> list[str]:
        """Words heard in each waveform (S,)."""
        device = next(self.model.parameters()).device
        return join_texts(by_pieces(waveforms, sample_rate_hz, self.model.encoder.sample_rate_hz, device, self.hear))

    def hear(self, waveforms: list[Tensor]) -> list[str]:
        """Words of waveforms (S,) at the model's rate."""
        num_samples = torch.tensor([len(row) for row in waveforms], device=waveforms[0].device)
        padded = pad_sequence(waveforms, batch_first=True)
        if self.lexicon is None:
            return self.model.transcribe(padded, num_samples)
        log_probabilities, num_steps = self.model(padded, num_samples)
        return [
            self.lexicon.decode(row[:steps]) for row, steps in zip(log_probabilities, num_steps.tolist(), strict=True)
        ]


class PocketSphinxTranscriber(Transcriber):
    """CMU PocketSphinx with the American English models of its own wheel: independent of anything trained here, on the CPU.

    It hears open English from a dictionary of 134 000 words about five times faster than real time; on clean read speech it is far
    worse than a neural recogniser, so read its word error rates beside those of the vocoder's ceiling. Recordings above 30 s are cut where
    they are quiet.

    Args:
        grammar: File of sentences in JSGF, the only ones that can be heard; None hears open English.
        pronunciations: Words of the grammar that its dictionary lacks, each with its phones: ``{oink: OY NG K}``.
        dither: Whether noise of half a step of 16 bits is added, the same every time: what is synthetic may be digital silence
            between its words, and that confuses it.

    Raises:
        ConfigError: if the package is not installed or there is no such file or, at ``load``, if the grammar cannot be used.
    """

    RATE_HZ = 16000
    PAUSE_SAMPLES = 3200  # 0.2 s

    def __init__(
        self, grammar: str | None = None, pronunciations: dict[str, str] | None = None, dither: bool = False
    ) -> None:
        super().__init__()
        if grammar is not None and not Path(grammar).is_file():
            raise ConfigError(
                f"PocketSphinxTranscriber.grammar: there is no file {grammar}; name a file of sentences in JSGF"
            )
        self.grammar, self.pronunciations, self.dither = grammar, pronunciations or {}, dither
        require_extra("judges", "PocketSphinxTranscriber", "pocketsphinx")
        import pocketsphinx

        self.package = pocketsphinx

    @property
    def title(self) -> str:
        """Class, package and models."""
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
            self._hold_to(Path(self.grammar))

    def _hold_to(self, grammar: Path) -> None:
        """Have the decoder hear the sentences of a file alone."""
        for word, phones in self.pronunciations.items():
            self.decoder.add_word(word, phones, True)
        sentences = grammar.read_text(encoding="utf-8")
        try:
            self.decoder.add_jsgf_string("sentences", sentences)
        except ValueError as error:
            spelt = re.sub(r"//[^\n]*|#JSGF[^;]*;|grammar [^;]*;|<[^>]*>|\bpublic\b", "", sentences)
            unknown = sorted(
                {word for word in re.findall(r"[\w'.-]+", spelt) if self.decoder.lookup_word(word) is None}
            )
            told = (
                f"its dictionary lacks {', '.join(unknown)}: give their phones as pronunciations"
                if unknown
                else "it is no JSGF"
            )
            raise ConfigError(f"PocketSphinxTranscriber.grammar: {grammar} cannot be used, {told}") from error
        self.decoder.activate_search("sentences")

    def transcribe(self, waveforms: list[Tensor], sample_rate_hz: int) -> list[str]:
        """Words heard in each waveform (S,)."""
        return join_texts(by_pieces(waveforms, sample_rate_hz, self.RATE_HZ, torch.device("cpu"), self.hear))

    def weight_files(self) -> list[Path]:
        """Acoustic model, language model and dictionary, and the sentences, which make what is heard as these do."""
        models = [path for path in Path(self.package.get_model_path("en-us")).rglob("*") if path.is_file()]
        return models if self.grammar is None else [*models, Path(self.grammar)]

    def hear(self, waveforms: list[Tensor]) -> list[str]:
        """Words of waveforms (S,) at 16 kHz."""
        return [self.hear_one(waveform) for waveform in waveforms]

    def hear_one(self, waveform: Tensor) -> str:
        """Words of one waveform (S,) at 16 kHz."""
        samples = (waveform.clamp(-1, 1) * 32767).round().to(torch.int16)
        # Quieter than one step of 16 bits is a digital silence, which has no logarithm and breaks the decoder's normalisation.
        if not samples.any():
            return ""
        if self.grammar is not None:
            # Its sentences begin and end in a silence, and those of a recording that is cut close are otherwise heard without their end.
            samples = torch.nn.functional.pad(samples, (self.PAUSE_SAMPLES, self.PAUSE_SAMPLES))
        # A result must not depend on what was heard before: the front end, made anew, has forgotten its estimate of the noise, and
        # of a whole utterance the cepstral mean is its own, where in pieces it would run on.
        self.decoder.reinit_feat(self.decoder.config)
        self.decoder.start_utt()
        self.decoder.process_raw(samples.numpy().astype("<i2").tobytes(), full_utt=True)
        self.decoder.end_utt()
        hypothesis = self.decoder.hyp()
        return "" if hypothesis is None else hypothesis.hypstr
