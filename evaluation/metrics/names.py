"""Names, units and directions of all that evaluation measures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricName:
    """A metric's name as MLflow shows it after its prefix, its unit (empty for a plain ratio) and its direction (None: neither)."""

    name: str
    unit: str
    higher_is_better: bool | None


VALIDATION = "val/"  # prefix of what the model under test reached
CEILING = "ceiling/"  # prefix of what the recordings reach after the vocoder
RECORDING = "recording/"  # prefix of what the recordings themselves reach in the judges' eyes
SKIPPED = ".skipped"  # suffix: items that a metric could not use

LOG_PERPLEXITY = MetricName("log_perplexity", "nats/token", False)
PERPLEXITY = MetricName("perplexity", "", False)
SPEAKER_SIMILARITY = MetricName("speaker_similarity", "cosine", True)
SPEAKER_SIMILARITY_MARGIN = MetricName("speaker_similarity_margin", "cosine", True)
SECOND_SPEAKER_SIMILARITY = MetricName("second_speaker_similarity", "cosine", True)
PREDICTED_MOS = MetricName("predicted_mos", "MOS, 1 to 5", True)
QA_ACCURACY = MetricName("qa_accuracy", "share", True)
QA_TEXT_ACCURACY = MetricName("qa_text_accuracy", "share", True)
SPEECH_WER = MetricName("speech_wer", "errors/word", False)
PROMPT_WER = MetricName("prompt_wer", "errors/word", False)
SPEECH_CER = MetricName("speech_cer", "errors/character", False)
PROMPT_CER = MetricName("prompt_cer", "errors/character", False)
AUTO_BLEU = MetricName("auto_bleu", "BLEU-2", False)
SELF_BLEU = MetricName("self_bleu", "BLEU-2", False)
STOPPED = MetricName("stopped", "share", True)
LENGTH_RATIO = MetricName("length_ratio", "seconds/second", None)
SPEAKING_RATE = MetricName("speaking_rate", "words/second", None)
FREE_RUNNING_MEL_L1 = MetricName("mel_l1_free_running", "log-mel", False)
TEACHER_FORCED_MEL_L1 = MetricName("mel_l1_teacher_forced", "log-mel", False)
MEL_DISTANCE = MetricName("mel_distance", "log-mel", False)
STFT_DISTANCE = MetricName("stft_distance", "", False)
MEL_CEPSTRAL_DISTANCE = MetricName("mel_cepstral_distance", "dB", False)
PITCH_ERROR = MetricName("pitch_error", "cents", False)
