"""Evaluation of a system: its answers, the order and evidence of judges, and the vocoder's ceiling."""

import pytest
import torch

from spectron.audio.mel import LogMel, MelConfig
from spectron.batch import Continuation, Prompts, SpeechBatch, select, with_reference
from spectron.contracts import SpokenLanguageModel
from spectron.decoding import Decoding
from spectron.errors import ConfigError
from spectron.evaluation.evaluator import consult, judge_system, measures_by_split, metrics_served
from spectron.evaluation.judges import Judge, Judges, QualityPredictor, SpeakerEmbedder, TextScorer, Transcriber
from spectron.evaluation.judges.chunking import TOGETHER_SECONDS
from spectron.evaluation.judges.grouping import generated_speech, grouped
from spectron.evaluation.metrics import (
    SpeechWordErrorRate,
    StoppedShare,
    WrittenAnswerAccuracy,
    all_metrics,
    mel_distance,
)
from spectron.evaluation.sample import TRANSCRIPT
from spectron.evaluation.systems.answering import answer
from spectron.evaluation.systems.baselines import as_system, recordings
from spectron.heads import MelRegressionHead
from spectron.vocoders import GriffinLimVocoder

CPU = torch.device("cpu")


class Echo(SpokenLanguageModel):
    """System that speaks the prompt backwards at half its sample rate, and writes given texts."""

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
            num_samples > 3000,
            torch.zeros(len(rows), 3, 2),
            torch.full((len(rows),), 3),
        )


class Recorder(Echo):
    """System with a speech head and a vocoder."""

    speech_rate_hz = 16000

    def __init__(self, head, vocoder):
        self.head, self.vocoder = head, vocoder


class Mute(Echo):
    """System that writes nothing."""

    def writes_text(self, decoding: Decoding) -> bool:
        return False


def batches() -> list[SpeechBatch]:
    generator = torch.Generator().manual_seed(0)
    none = torch.zeros(0, dtype=torch.long)
    prompt, continuation = (torch.randn(2, 9000, generator=generator) * 0.1 for _ in range(2))
    return [
        SpeechBatch(
            ["a", "b"], prompt, torch.tensor([9000, 4000]), ["who is it", "what"],
            continuation, torch.tensor([9000, 0]), ["me", ""], ["s", "t"], [["me"], ["moo", "boo"]],
        ),
        SpeechBatch([], prompt[:0], none, [], continuation[:0], none, [], skipped=["x"]),
        SpeechBatch(
            ["c"], prompt[:1, :6000], torch.tensor([6000]), ["then"],
            continuation[1:, :8000], torch.tensor([7000]), ["now"],
        ),
    ]  # fmt: skip


TEXTS = {"a": "who is it | me", "b": "what | moo", "c": "then | now"}


class LengthTranscriber(Transcriber):
    """Recogniser that transcribes the number of samples and records the calls."""

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


class DoubleEmbedder(LengthEmbedder):
    def embed(self, waveforms, sample_rate_hz):
        return 2 * super().embed(waveforms, sample_rate_hz)


def length_judges() -> Judges:
    return Judges({"recogniser": LengthTranscriber(), "scorer": LengthScorer(), "embedder": LengthEmbedder()})


def test_answer_joins_prompt_and_generated_speech():
    a, b, c = answer(Echo(TEXTS, mark=True), batches(), Decoding(), CPU)
    first, _, last = batches()
    assert [sample.id for sample in (a, b, c)] == ["a", "b", "c"]
    torch.testing.assert_close(b.generated, first.prompt[1, :4000].flip(0)[::2])
    torch.testing.assert_close(c.reference, last.continuation[0, :7000])
    assert (len(b.prompt), len(b.reference), b.answers, b.speaker, b.stopped) == (4000, 0, ["moo", "boo"], "t", False)
    assert (a.transcript, a.continuation_text, c.answers, c.speaker) == ("who is it", "me", [], "")
    assert (a.generated_seconds, c.reference_seconds) == (4500 / 8000, 7000 / 8000)


def test_spectrograms_without_head_use_default_settings():
    """The 8 kHz of the speech limit the band; a sample without a recording has no frame."""
    a, b, _ = answer(Echo(TEXTS), batches(), Decoding(), CPU)
    speech = LogMel(MelConfig(sample_rate_hz=8000, high_hz=4000.0))
    expected, _ = speech(a.generated[None], torch.tensor([4500]))
    torch.testing.assert_close(a.generated_mel, expected[0])
    prompt, _ = LogMel(MelConfig(high_hz=4000.0))(b.prompt[None], torch.tensor([4000]))
    torch.testing.assert_close(b.prompt_mel, prompt[0])
    assert b.reference_mel.shape == (0, 128)
    assert a.frame_rate_hz == 80.0


def test_empty_text_is_same_alone_and_in_batch():
    """The batch size, or a failed batch tried item by item, changes no value."""
    [alone] = answer(Echo({"c": ""}), batches()[2:], Decoding(), CPU)
    assert (alone.transcript, alone.continuation_text) == ("", "")


def test_text_without_separator_is_cut_at_end_of_prompt():
    texts = {"a": "who is it me", "b": "what moo", "c": ""}
    samples = answer(Echo(texts), batches(), Decoding(), CPU)
    assert [(s.transcript, s.continuation_text) for s in samples] == [("who is it", "me"), ("what", "moo"), ("", "")]


def test_system_without_text_has_no_transcript():
    samples = answer(Mute(dict.fromkeys("abc", "")), batches(), Decoding(), CPU)
    assert all(sample.transcript is None and sample.continuation_text is None for sample in samples)


def test_speech_that_is_not_finite_is_dropped():
    with pytest.warns(UserWarning, match="generated for b contains values that are not finite"):
        a, b, _ = answer(Echo(TEXTS, broken="b"), batches(), Decoding(), CPU)
    assert (len(a.generated), len(b.generated)) == (4500, 0)
    consult([a, b], length_judges(), CPU)
    assert b.evidence_of("transcript") == ""
    assert (b.evidence_of("text_score").num_tokens, b.evidence_of("voice").generated) == (0, None)


def test_teacher_forcing_only_for_rows_with_recording():
    asked = []

    def teacher_forced(batch: SpeechBatch):
        asked.append(batch.ids)
        return torch.full((len(batch.ids), 9, 4), float(len(asked))), torch.full((len(batch.ids),), 5)

    a, b, c = answer(Echo(TEXTS), batches(), Decoding(), CPU, teacher_forced)
    assert asked == [["a"], ["c"]]
    assert b.teacher_forced_mel is None
    assert a.teacher_forced_mel.shape == (5, 4)
    assert float(c.teacher_forced_mel[0, 0]) == 2.0


def test_judges_are_asked_once_in_order_of_length():
    judges = length_judges()
    metrics = metrics_served(all_metrics(), judges)
    judged = judge_system(Echo(TEXTS, mark=True), batches(), Decoding(), judges, metrics, CPU)
    assert judges["recogniser"].asked == [[2000, 3000, 4500]]
    a, b, c = judged.samples
    transcripts = [sample.evidence_of("transcript") for sample in (a, b, c)]
    assert transcripts == ["4500 at 8000", "2000 at 8000", "3000 at 8000"]
    assert a.evidence_of("text_score") == (12.0, 3)
    voices = b.evidence_of("voice")
    assert (voices.prompt.tolist(), voices.generated.tolist()) == ([4000.0, 16000.0], [2000.0, 8000.0])
    measures = {measure.name: measure for measure in judged.named("val/")}
    assert measures["val/log_perplexity"].value == pytest.approx(36 / 9)
    assert measures["val/qa_accuracy.skipped"].value == 1
    assert measures["val/prompt_wer"].value == 0


def test_metrics_are_reset_and_require_their_judges():
    metric = StoppedShare()
    for _ in range(2):
        measures = judge_system(Echo(TEXTS), batches(), Decoding(), Judges(), [metric], CPU).measures
        assert (measures[0].count, measures[0].value) == (3, pytest.approx(1 / 3))
    with pytest.raises(ConfigError) as raised:
        judge_system(Echo(TEXTS), batches(), Decoding(), Judges(), [SpeechWordErrorRate()], CPU)
    assert (raised.value.key, raised.value.allowed) == ("metrics", ())
    metrics = [StoppedShare(), SpeechWordErrorRate(judge="scorer")]
    with pytest.raises(ConfigError) as raised:
        judge_system(Echo(TEXTS), batches(), Decoding(), length_judges(), metrics, CPU)
    assert (raised.value.key, raised.value.allowed) == ("metrics.1.init_args.judge", ("recogniser",))


def test_by_split_metrics_are_computed_for_each_split(make_sample):
    said = [("voices", "moo"), ("voices", "woof"), ("facts", "woof"), ("facts", "woof"), ("facts", "moo")]
    samples = [make_sample(id=str(n), split=split, continuation_text=text) for n, (split, text) in enumerate(said)]
    measures = measures_by_split(samples, [WrittenAnswerAccuracy(), StoppedShare()])
    assert [(m.name, m.count) for m in measures] == [("qa_text_accuracy/facts", 3), ("qa_text_accuracy/voices", 2)]
    assert [m.value for m in measures] == pytest.approx([1 / 3, 1 / 2])
    assert measures_by_split(samples[:2], [WrittenAnswerAccuracy()]) == []


def test_groups_stay_below_limit_of_judges(make_sample):
    samples = [
        make_sample(generated=torch.zeros(8000 * seconds), speech_rate_hz=8000) for seconds in (50, 3, 50, 50, 200, 3)
    ]
    groups = [
        [samples[place].generated_seconds for place in places] for places, _, _ in grouped(generated_speech(samples))
    ]
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


def test_two_embedders_give_separate_evidence(make_sample):
    """Samples of two rates are kept apart, and speech that is too short is not embedded."""
    samples = [
        make_sample(generated=torch.ones(2000)),
        make_sample(prompt=torch.zeros(900), prompt_rate_hz=8000, generated=torch.ones(10)),
    ]
    consult(samples, Judges({"first": DoubleEmbedder(), "second": LengthEmbedder()}), CPU)
    second = [sample.evidence_of("voice", "second") for sample in samples]
    assert [voices.prompt.tolist() for voices in second] == [[1600, 16000], [900, 8000]]
    assert second[0].generated.tolist() == [2000, 16000]
    assert second[1].generated is None
    assert [sample.evidence_of("voice").prompt.tolist() for sample in samples] == [[3200, 32000], [1800, 16000]]


def test_optional_judge_without_weights_leaves_no_evidence(make_sample):
    samples = [
        make_sample(generated=torch.ones(2000)),
        make_sample(generated=torch.zeros(2000)),
        make_sample(generated=torch.ones(10)),
    ]
    judge = Applause()
    judge.why = "weights not present: pip install applause"
    with pytest.warns(UserWarning, match="`applause` is left out: weights not present: pip install applause"):
        consult(samples, Judges({"applause": judge}), CPU)
    assert samples[0].evidence_of("quality") is None
    judge.why = None
    consult(samples, Judges({"applause": judge}), CPU)
    assert [sample.evidence_of("quality") for sample in samples] == [2000.0, None, None]


class Corrector(Judge):
    """Replaces the transcript of another judge by its upper case."""

    title = "Corrector"
    gives = needs = frozenset({TRANSCRIPT})

    def __init__(self, judge: str | None = None) -> None:
        super().__init__()
        self.judge = judge

    def load(self) -> None: ...

    def assess(self, samples):
        return [{TRANSCRIPT: sample.evidence_of(TRANSCRIPT, self.judge).upper()} for sample in samples]


def test_judges_work_in_order_of_needs_and_first_is_default(make_sample):
    """The scorer is listed before the judges that it waits for; the corrector, listed first, is the default."""
    sample = make_sample(generated=torch.ones(2000))
    judges = Judges({"scorer": LengthScorer(), "corrector": Corrector("recogniser"), "recogniser": LengthTranscriber()})
    assert judges.working_order() == ["recogniser", "corrector", "scorer"]
    consult([sample], judges, CPU)
    assert sample.evidence_of("transcript") == "2000 AT 16000"
    assert sample.evidence_of("transcript", "recogniser") == "2000 at 16000"
    assert sample.evidence_of("text_score", "recogniser") == (13.0, 3), "a judge of other evidence is not read"
    assert list(sample.evidence) == ["scorer", "corrector", "recogniser"]


@pytest.mark.parametrize(
    ("judges", "key", "allowed"),
    [
        ({"scorer": LengthScorer()}, "judges.scorer", ("text_score",)),
        ({"corrector": Corrector()}, "judges.corrector", ()),
        ({"a": Corrector("b"), "b": Corrector("a")}, "judges.a", ()),
        ({"a": Corrector("c"), "b": LengthTranscriber()}, "judges.a.init_args.judge", ("a", "b")),
    ],
    ids=["missing evidence", "own evidence", "circle", "unknown judge"],
)
def test_judges_refuse_needs_that_cannot_be_met(judges, key, allowed):
    with pytest.raises(ConfigError) as raised:
        Judges(judges)
    assert (raised.value.key, raised.value.allowed) == (key, allowed)


def test_further_judge_adds_its_metrics():
    judges = Judges({**length_judges(), "second": LengthTranscriber()})
    names = [metric.label.name for metric in metrics_served([SpeechWordErrorRate(), StoppedShare()], judges)]
    assert names == ["speech_wer", "speech_wer_second", "stopped"]
    alone = metrics_served([SpeechWordErrorRate(), StoppedShare()], Judges())
    assert [metric.label.name for metric in alone] == ["stopped"]


def test_select_keeps_all_columns_of_rows():
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


def test_recorded_answers_with_vocoder_resemble_recording():
    """The spectrogram is closer to the recording than to another recording, and the texts are the true ones."""
    mel = MelConfig(n_mels=40)
    head, recorded = MelRegressionHead(8, mel), [batch for batch in map(with_reference, batches()) if batch.ids]
    time = torch.arange(9000) / 16000
    recorded[0].continuation[0] = 0.3 * torch.sin(2 * torch.pi * (300 + 500 * time) * time)
    recorded[1].continuation[0] = 0.3 * torch.sin(2 * torch.pi * 1500 * time[:8000])
    given = {name: spoken for batch in recorded for name, spoken in recordings(batch).items()}
    system = as_system(Recorder(head, GriffinLimVocoder(mel)), given, CPU, vocoded=True)
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
