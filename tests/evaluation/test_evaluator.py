"""Judging a system: what becomes of its answers, how judges are asked, and the vocoder's ceiling."""

import pytest
import torch

from spectron.audio.mel import LogMel, MelConfig
from spectron.batch import Continuation, Prompts, SpeechBatch, select, with_reference
from spectron.contracts import Decoding, SpokenLanguageModel
from spectron.errors import ConfigError
from spectron.evaluation.evaluator import Judges, consult, judge_system, measures_by_split, spoken
from spectron.evaluation.judges import QualityPredictor, SpeakerEmbedder, TextScorer, Transcriber
from spectron.evaluation.judges.chunking import TOGETHER_SECONDS
from spectron.evaluation.metrics import (
    SpeechWordErrorRate,
    StoppedShare,
    WrittenAnswerAccuracy,
    all_metrics,
    mel_distance,
)
from spectron.evaluation.systems.answering import answer
from spectron.evaluation.systems.baselines import FixedAnswers, head_spectrogram, recordings
from spectron.heads import MelRegressionHead
from spectron.vocoders import GriffinLimVocoder

CPU = torch.device("cpu")


class Echo(SpokenLanguageModel):
    """Speaks the prompt backwards at half its rate of samples, and writes what it was told to."""

    prompt_rate_hz, speech_rate_hz = 16000, 8000

    def __init__(self, texts: dict[str, str], mark: bool = False, broken: str = "") -> None:
        self.texts, self.mark, self.broken = texts, mark, broken

    def continue_speech(self, prompts: Prompts, decoding: Decoding) -> Continuation:
        rows = [row[:n].flip(0)[::2] for row, n in zip(prompts.waveform, prompts.num_samples.tolist(), strict=True)]
        waveform = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        num_samples = torch.tensor([len(row) for row in rows])
        if self.broken in prompts.ids:
            waveform[prompts.ids.index(self.broken), 5] = torch.nan
        texts = [self.texts[name] for name in prompts.ids]
        halves = [text.partition(" | ") for text in texts]
        return Continuation(
            prompts.ids,
            texts,
            [half[0] for half in halves] if self.mark else None,
            [half[2] for half in halves] if self.mark else None,
            waveform,
            num_samples,
            self.speech_rate_hz,
            torch.zeros(len(rows), 3, 2),
            torch.full((len(rows),), 3),
            num_samples > 3000,
        )


class Mute(Echo):
    """One that writes nothing."""

    def writes_text(self, decoding: Decoding) -> bool:
        return False


def batches() -> list[SpeechBatch]:
    generator = torch.Generator().manual_seed(0)
    none = torch.zeros(0, dtype=torch.long)
    prompt, continuation = (torch.randn(2, 9000, generator=generator) * 0.1 for _ in range(2))
    return [
        SpeechBatch(
            ["a", "b"], prompt, torch.tensor([9000, 4000]), ["who is it", "what"], continuation, torch.tensor([9000, 0]), ["me", ""],
            ["s", "t"], [["me"], ["moo", "boo"]],
        ),
        SpeechBatch([], prompt[:0], none, [], continuation[:0], none, [], skipped=["x"]),
        SpeechBatch(["c"], prompt[:1, :6000], torch.tensor([6000]), ["then"], continuation[1:, :8000], torch.tensor([7000]), ["now"]),
    ]  # fmt: skip


TEXTS = {"a": "who is it | me", "b": "what | moo", "c": "then | now"}


class LengthTranscriber(Transcriber):
    """Hears the number of samples, and remembers what it was asked."""

    title = "LengthTranscriber"

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[int]] = []

    def load(self) -> None: ...

    def transcribe(self, waveforms, sample_rate_hz):
        self.asked.append([len(row) for row in waveforms])
        return [f"{len(row)} at {sample_rate_hz}" for row in waveforms]


class LengthScorer(TextScorer):
    title = "LengthScorer"

    def load(self) -> None: ...

    def score(self, texts):
        return [(float(len(text)), len(text.split())) for text in texts]


class LengthEmbedder(SpeakerEmbedder):
    title = "LengthEmbedder"

    def load(self) -> None: ...

    def embed(self, waveforms, sample_rate_hz):
        return torch.tensor([[len(row), sample_rate_hz] for row in waveforms]).float()


def test_answers_join_what_was_asked_with_what_was_generated():
    a, b, c = answer(Echo(TEXTS, mark=True), batches(), Decoding(), CPU)
    first, _, last = batches()
    assert [sample.id for sample in (a, b, c)] == ["a", "b", "c"]
    torch.testing.assert_close(b.generated, first.prompt[1, :4000].flip(0)[::2])
    torch.testing.assert_close(c.reference, last.continuation[0, :7000])
    assert (len(b.prompt), len(b.reference), b.answers, b.speaker, b.stopped) == (4000, 0, ["moo", "boo"], "t", False)
    assert (a.transcript, a.continuation_text, c.answers, c.speaker) == ("who is it", "me", [], "")
    assert (a.generated_seconds, c.reference_seconds) == (4500 / 8000, 7000 / 8000)


def test_spectrograms_have_one_setting_and_each_its_own_rate():
    """Without a head, the default settings, as far as the speech's 8 kHz reach; without a recording, no frame."""
    a, b, _ = answer(Echo(TEXTS), batches(), Decoding(), CPU)
    speech = LogMel(MelConfig(sample_rate_hz=8000, high_hz=4000.0))
    expected, _ = speech(a.generated[None], torch.tensor([4500]))
    torch.testing.assert_close(a.generated_mel, expected[0])
    prompt, _ = LogMel(MelConfig(high_hz=4000.0))(b.prompt[None], torch.tensor([4000]))
    torch.testing.assert_close(b.prompt_mel, prompt[0])
    assert b.reference_mel.shape == (0, 128)
    assert a.frame_rate_hz == 80.0


def test_an_empty_text_is_the_same_alone_and_beside_others():
    """So that the size of batches, or a failed one tried item by item, changes no figure."""
    [alone] = answer(Echo({"c": ""}), batches()[2:], Decoding(), CPU)
    assert (alone.transcript, alone.continuation_text) == ("", "")


def test_texts_without_a_mark_are_cut_where_the_prompt_ends():
    texts = {"a": "who is it me", "b": "what moo", "c": ""}
    samples = answer(Echo(texts), batches(), Decoding(), CPU)
    assert [(s.transcript, s.continuation_text) for s in samples] == [("who is it", "me"), ("what", "moo"), ("", "")]


def test_a_system_without_text_has_neither_transcript_nor_continuation():
    samples = answer(Mute(dict.fromkeys("abc", "")), batches(), Decoding(), CPU)
    assert all(sample.transcript is None and sample.continuation_text is None for sample in samples)


def test_speech_that_is_no_numbers_is_no_speech():
    with pytest.warns(UserWarning, match="generated for b contains values that are not finite"):
        a, b, _ = answer(Echo(TEXTS, broken="b"), batches(), Decoding(), CPU)
    assert (len(a.generated), len(b.generated)) == (4500, 0)
    consult([a, b], Judges(LengthTranscriber(), LengthScorer(), LengthEmbedder()), CPU)
    assert (b.heard, b.num_tokens, b.generated_embedding) == ("", 0, None)


def test_teacher_forcing_is_asked_for_recorded_rows_only():
    asked = []

    def teacher_forced(batch: SpeechBatch):
        asked.append(batch.ids)
        return torch.full((len(batch.ids), 9, 4), float(len(asked))), torch.full((len(batch.ids),), 5)

    a, b, c = answer(Echo(TEXTS), batches(), Decoding(), CPU, teacher_forced)
    assert asked == [["a"], ["c"]]
    assert b.teacher_forced_mel is None
    assert a.teacher_forced_mel.shape == (5, 4)
    assert float(c.teacher_forced_mel[0, 0]) == 2.0


def test_judges_are_asked_once_each_in_order_of_length():
    transcriber = LengthTranscriber()
    judges = Judges(transcriber, LengthScorer(), LengthEmbedder())
    metrics = [metric for metric in all_metrics() if judges.serve(metric)]
    judged = judge_system(Echo(TEXTS, mark=True), batches(), Decoding(), judges, metrics, CPU)
    assert transcriber.asked == [[2000, 3000, 4500]]
    a, b, c = judged.samples
    assert [sample.heard for sample in (a, b, c)] == ["4500 at 8000", "2000 at 8000", "3000 at 8000"]
    assert (a.nll_nats, a.num_tokens) == (12.0, 3)
    assert (b.prompt_embedding.tolist(), b.generated_embedding.tolist()) == ([4000.0, 16000.0], [2000.0, 8000.0])
    measures = {measure.name: measure for measure in judged.named("val/")}
    assert measures["val/log_perplexity"].value == pytest.approx(36 / 9)
    assert measures["val/qa_accuracy.skipped"].value == 1
    assert measures["val/prompt_wer"].value == 0


def test_metrics_start_afresh_and_want_their_judges():
    metric = StoppedShare()
    for _ in range(2):
        measures = judge_system(Echo(TEXTS), batches(), Decoding(), Judges(), [metric], CPU).measures
        assert (measures[0].count, measures[0].value) == (3, pytest.approx(1 / 3))
    with pytest.raises(
        ConfigError, match=r"SpeechWordErrorRate needs a judge that is not given: set transcriber, or leave"
    ):
        judge_system(Echo(TEXTS), batches(), Decoding(), Judges(), [SpeechWordErrorRate()], CPU)


def test_answers_are_also_counted_for_each_split(make_sample):
    said = [("voices", "moo"), ("voices", "woof"), ("facts", "woof"), ("facts", "woof"), ("facts", "moo")]
    samples = [make_sample(id=str(n), split=split, continuation_text=text) for n, (split, text) in enumerate(said)]
    measures = measures_by_split(samples, [WrittenAnswerAccuracy(), StoppedShare()])
    assert [(m.name, m.count) for m in measures] == [("qa_text_accuracy/facts", 3), ("qa_text_accuracy/voices", 2)]
    assert [m.value for m in measures] == pytest.approx([1 / 3, 1 / 2])
    assert measures_by_split(samples[:2], [WrittenAnswerAccuracy()]) == []


def test_groups_stay_under_what_a_judge_takes(make_sample):
    samples = [
        make_sample(generated=torch.zeros(8000 * seconds), speech_rate_hz=8000) for seconds in (50, 3, 50, 50, 200, 3)
    ]
    groups = [[s.generated_seconds for s in group] for group, _, _ in spoken(samples)]
    assert groups == [[3, 3], [50, 50], [50], [200]]
    assert all(len(group) * group[-1] <= TOGETHER_SECONDS or len(group) == 1 for group in groups)


class Applause(QualityPredictor):
    title = "Applause"
    why: str | None = None

    def load(self) -> None: ...

    def missing(self):
        return self.why

    def rate(self, waveforms, sample_rate_hz):
        return [float(len(row)) if row.any() else None for row in waveforms]


def test_each_embedder_fills_fields_of_its_own(make_sample):
    """Samples of two rates are told apart, and speech too short for a judge is not shown to it."""
    samples = [
        make_sample(generated=torch.ones(2000)),
        make_sample(prompt=torch.zeros(900), prompt_rate_hz=8000, generated=torch.ones(10)),
    ]
    consult(samples, Judges(second_speaker_embedder=LengthEmbedder()), CPU)
    assert [sample.second_prompt_embedding.tolist() for sample in samples] == [[1600, 16000], [900, 8000]]
    assert samples[0].second_generated_embedding.tolist() == [2000, 16000]
    assert samples[1].second_generated_embedding is None
    assert all(sample.prompt_embedding is None and sample.generated_embedding is None for sample in samples)


def test_quality_is_predicted_where_the_predictor_is_here(make_sample):
    samples = [
        make_sample(generated=torch.ones(2000)),
        make_sample(generated=torch.zeros(2000)),
        make_sample(generated=torch.ones(10)),
    ]
    judge = Applause()
    judge.why = "weights not present: pip install applause"
    with pytest.warns(UserWarning, match="no opinion score is predicted: weights not present: pip install applause"):
        consult(samples, Judges(quality_predictor=judge), CPU)
    assert samples[0].predicted_mos is None
    judge.why = None
    consult(samples, Judges(quality_predictor=judge), CPU)
    assert [sample.predicted_mos for sample in samples] == [2000.0, None, None]


def test_rows_are_selected_with_all_their_columns():
    first, _, last = batches()
    taken = select(first, [1])
    assert (taken.ids, taken.prompt_num_samples.tolist(), taken.speakers, taken.answers) == (
        ["b"],
        [4000],
        ["t"],
        [["moo", "boo"]],
    )
    torch.testing.assert_close(taken.prompt, first.prompt[1:])
    assert (with_reference(first).ids, with_reference(last).ids, with_reference(last).answers) == (["a"], ["c"], [])


def test_the_ceiling_is_the_recording_after_the_vocoder():
    """Its spectrogram is near the recording's, nearer than that of silence or of another recording, and its texts are the true ones."""
    mel = MelConfig(n_mels=40)
    head, recorded = MelRegressionHead(8, mel), [batch for batch in map(with_reference, batches()) if batch.ids]
    time = torch.arange(9000) / 16000
    recorded[0].continuation[0] = 0.3 * torch.sin(2 * torch.pi * (300 + 500 * time) * time)
    recorded[1].continuation[0] = 0.3 * torch.sin(2 * torch.pi * 1500 * time[:8000])
    given = {name: spoken for batch in recorded for name, spoken in recordings(batch).items()}
    system = FixedAnswers(given, head_spectrogram(head), mel, GriffinLimVocoder(mel), 16000)
    a, c = answer(system, recorded, Decoding(), CPU)
    assert (a.transcript, a.continuation_text, a.stopped) == (None, "me", True), "it hears nothing"
    true, frames = LogMel(mel)(recorded[0].continuation, torch.tensor([9000]))
    torch.testing.assert_close(a.reference_mel, true[0, : int(frames)])
    near, frames_near = mel_distance(a.generated_mel, a.reference_mel)
    far, frames_far = mel_distance(c.generated_mel, a.reference_mel)
    assert near / frames_near < 1.0
    assert far / frames_far > 3 * near / frames_near
    heard, _ = LogMel(mel)(a.generated[None], torch.tensor([len(a.generated)]))
    torch.testing.assert_close(heard[0], a.generated_mel, atol=1e-4, rtol=1e-4)
    assert len(a.generated) == pytest.approx(9000, abs=mel.hop_samples)
