"""Names, units and directions of all metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricSpec:
    """Name of a metric in MLflow without prefix, unit (empty for a plain ratio) and direction (None: neither)."""

    name: str
    unit: str
    higher_is_better: bool | None


VALIDATION = "val/"  # prefix of the results of the model under test
CEILING = "ceiling/"  # prefix of the results of the recordings after the vocoder
RECORDING = "recording/"  # prefix of the results of the unprocessed recordings
SKIPPED = ".skipped"  # suffix: items that a metric could not use

LOG_PERPLEXITY = MetricSpec("log_perplexity", "nats/token", False)
PERPLEXITY = MetricSpec("perplexity", "", False)
SPEAKER_SIMILARITY = MetricSpec("speaker_similarity", "cosine", True)
SPEAKER_SIMILARITY_MARGIN = MetricSpec("speaker_similarity_margin", "cosine", True)
PREDICTED_MOS = MetricSpec("predicted_mos", "MOS, 1 to 5", True)
QA_ACCURACY = MetricSpec("qa_accuracy", "share", True)
QA_TEXT_ACCURACY = MetricSpec("qa_text_accuracy", "share", True)
SPEECH_WER = MetricSpec("speech_wer", "errors/word", False)
PROMPT_WER = MetricSpec("prompt_wer", "errors/word", False)
SPEECH_CER = MetricSpec("speech_cer", "errors/character", False)
PROMPT_CER = MetricSpec("prompt_cer", "errors/character", False)
AUTO_BLEU = MetricSpec("auto_bleu", "BLEU-2", False)
SELF_BLEU = MetricSpec("self_bleu", "BLEU-2", False)
STOPPED = MetricSpec("stopped", "share", True)
TEXT_STOPPED = MetricSpec("text_stopped", "share", True)
LENGTH_RATIO = MetricSpec("length_ratio", "seconds/second", None)
SPEAKING_RATE = MetricSpec("speaking_rate", "words/second", None)
FREE_RUNNING_MEL_L1 = MetricSpec("mel_l1_free_running", "log-mel", False)
TEACHER_FORCED_MEL_L1 = MetricSpec("mel_l1_teacher_forced", "log-mel", False)
MEL_DISTANCE = MetricSpec("mel_distance", "log-mel", False)
STFT_DISTANCE = MetricSpec("stft_distance", "", False)
MEL_CEPSTRAL_DISTANCE = MetricSpec("mel_cepstral_distance", "dB", False)
PITCH_ERROR = MetricSpec("pitch_error", "cents", False)
