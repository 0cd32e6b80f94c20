"""Metrics against hand-worked values, their stored parts, and the samples that they skip."""

import json
import math
import random
from dataclasses import replace
from itertools import permutations

import pytest
import torch
from signals import harmonics

from spectron.evaluation.judges import TextScorer
from spectron.evaluation.made_up_samples import usable_samples
from spectron.evaluation.metrics import (
    CorpusMetric,
    FreeRunningMelError,
    LengthRatio,
    LogPerplexity,
    MelCepstralDistance,
    MelDistance,
    PitchError,
    PredictedMos,
    PromptCharacterErrorRate,
    PromptWordErrorRate,
    SpeakerSimilarity,
    SpeakerSimilarityMargin,
    SpeakingRate,
    SpeechCharacterErrorRate,
    SpeechWordErrorRate,
    SpokenAnswerAccuracy,
    SpokenMetric,
    StftDistance,
    StoppedShare,
    TeacherForcedMelError,
    TextStoppedShare,
    WrittenAnswerAccuracy,
    all_metrics,
    character_errors,
    holds_answer,
    mel_distance,
    normalize,
    voice_similarity,
    word_errors,
)
from spectron.evaluation.sample import TRANSCRIPT, VOICE, TextScore, Voices


def by_name(metric, samples) -> dict:
    metric.update(samples)
    return {measure.name: measure for measure in metric.measures()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cow says: 'Moo!'", "the cow says moo"),
        ("don't DON\u2019T", "dont dont"),
        ("Beyoncé, well-known_star", "beyonce well known star"),
        ("4 and four", "4 and four"),
        ("हिन्दी।", "हिन्दी"),
        ("?!", ""),
    ],
)
def test_normalizer(text, expected):
    assert normalize(text) == expected


@pytest.mark.parametrize(
    ("text", "answers", "tokens", "substring"),
    [
        ("the cow says Moo.", ["moo"], True, True),
        ("a category", ["cat"], False, True),
        ("new york city", ["York City", "boston"], True, True),
        ("york the city", ["york city"], False, False),
        ("anything", ["!", ""], False, False),
        ("it has seven legs", ["7"], True, False),
        ("it has 7 legs", ["seven"], True, False),
        ("in nineteen sixty nine", ["1969"], True, False),
        ("in 1969", ["nineteen sixty-nine"], True, False),
        ("seventeen", ["7"], False, False),
        ("twenty one cows", ["twenty"], True, True),
        ("the year 2069", ["1969"], False, False),
        ("", ["moo"], False, False),
    ],
)
def test_holds_answer_by_matcher(text, answers, tokens, substring):
    assert holds_answer(text, answers) == tokens
    assert holds_answer(text, answers, "substring") == substring


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("the cow says moo", "The cow, says moo", (0, 4)),
        ("the cow says moo", "the cow moo", (1, 4)),
        ("the cow says moo", "a cow says moo moo", (2, 4)),
        ("moo", "", (1, 1)),
        ("", "moo moo", (2, 0)),
        ("", "", (0, 0)),
    ],
)
def test_word_errors(reference, hypothesis, expected):
    assert word_errors(reference, hypothesis) == expected


@pytest.mark.parametrize("seed", range(40))
def test_character_errors_equal_slow_table(seed):
    draw = random.Random(seed)
    reference, hypothesis = (normalize("".join(draw.choices("ab ", k=draw.randint(0, 8)))) for _ in range(2))
    row = list(range(len(hypothesis) + 1))
    for above, wanted in enumerate(reference, start=1):
        next_row = [above]
        for place, seen in enumerate(hypothesis):
            next_row.append(min(row[place] + (wanted != seen), row[place + 1] + 1, next_row[place] + 1))
        row = next_row
    assert character_errors(reference, hypothesis) == (row[-1], len(reference))


def test_mel_distance_sums_frame_means_over_common_length():
    first = torch.tensor([[1.0, 3.0], [0.0, 0.0], [9.0, 9.0]])
    second = torch.tensor([[0.0, 0.0], [0.5, -0.5]])
    assert mel_distance(first, second) == (2.5, 2)


def test_voice_similarity():
    assert voice_similarity(torch.tensor([3.0, 4.0]), torch.tensor([4.0, 3.0])) == pytest.approx(24 / 25)


def test_word_error_rate_adds_up_edits_and_words(make_sample):
    """Two samples with 1 of 4 and 1 of 1 words wrong: 2 / 5, not the mean of the rates, 0.625."""
    samples = [make_sample(recognised="the cow says who"), make_sample(continuation_text="moo", recognised="mood")]
    metric = SpeechWordErrorRate()
    measures = by_name(
        metric, [*samples, make_sample(continuation_text="", recognised="mm"), make_sample(continuation_text=None)]
    )
    assert measures["speech_wer"].value == float(metric.compute()) == pytest.approx(2 / 5)
    assert (measures["speech_wer"].count, measures["speech_wer"].higher_is_better) == (2, False)
    assert measures["speech_wer.words"].value == 5
    assert (measures["speech_wer.skipped"].value, measures["speech_wer.skipped"].count) == (2, 4)
    assert metric.scores(samples[0]) == {"speech_wer": 0.25}
    assert metric.scores(make_sample(continuation_text=None)) == {"speech_wer": None}


def test_prompt_word_error_rate_without_transcript_skips_sample(make_sample):
    wrong = make_sample(transcript="what does a cow")
    assert by_name(PromptWordErrorRate(), [wrong, make_sample(transcript=None)])["prompt_wer"].value == pytest.approx(
        2 / 5
    )


def test_character_error_rates_add_up_edits_and_characters(make_sample):
    """One letter of 12 ("cow" for "cows") and one of 3 ("mo" for "moo"): 2 / 15. The prompt lacks " say" of 21."""
    samples = [
        make_sample(continuation_text="The cows moo.", recognised="the cow moo"),
        make_sample(continuation_text="moo", recognised="mo"),
    ]
    speech = by_name(SpeechCharacterErrorRate(), [*samples, make_sample(continuation_text=None)])
    assert speech["speech_cer"].value == pytest.approx(2 / 15)
    assert (speech["speech_cer.characters"].value, speech["speech_cer.skipped"].value) == (15, 1)
    prompt = by_name(
        PromptCharacterErrorRate(), [make_sample(transcript="what does the cow"), make_sample(transcript=None)]
    )
    assert prompt["prompt_cer"].value == pytest.approx(4 / 21)
    assert prompt["prompt_cer.skipped"].value == 1


def test_log_perplexity_is_mean_over_tokens(make_sample):
    """3 nats on 1 token and 1 nat on 3: 4 / 4 = 1 nat per token, perplexity e; the mean of sample means is 5 / 3."""
    samples = [
        make_sample(text_score=TextScore(3.0, 1)),
        make_sample(text_score=TextScore(1.0, 3)),
        make_sample(text_score=TextScore(0.0, 0)),
    ]
    measures = by_name(LogPerplexity(), samples)
    assert measures["log_perplexity"].value == pytest.approx(1.0)
    assert measures["perplexity"].value == pytest.approx(math.e)
    assert measures["perplexity"].high == pytest.approx(math.exp(measures["log_perplexity"].high))
    assert (measures["log_perplexity.tokens"].value, measures["log_perplexity.skipped"].value) == (4, 1)


def test_answer_accuracy_spoken_and_written(make_sample):
    samples = [
        make_sample(recognised="the cow says boo"),
        make_sample(recognised="moo"),
        make_sample(recognised=""),
        make_sample(answers=[], recognised="moo"),
    ]
    spoken, written = by_name(SpokenAnswerAccuracy(), samples), by_name(WrittenAnswerAccuracy("substring"), samples)
    assert spoken["qa_accuracy"].value == pytest.approx(1 / 3)
    assert (spoken["qa_accuracy"].unit, spoken["qa_accuracy.skipped"].value) == ("share (tokens)", 1)
    share = written["qa_text_accuracy_substring"]
    assert (share.value, share.unit) == (1.0, "share (substring)")


@pytest.mark.parametrize(("judge", "suffix"), [(None, ""), ("wavlm", "_wavlm")])
def test_similarity_skips_samples_without_voice(judge, suffix, make_sample):
    """A named judge is read instead of the first one, and ends the metric's name."""
    east, north, none = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.full((2,), torch.nan)
    pairs = [(east, east), (east, north), (east, none), (east, None)]
    evidence = [{judge or "first": {VOICE: Voices(*pair)}, "other": {VOICE: Voices(north, -north)}} for pair in pairs]
    if judge:
        evidence = [dict(reversed(row.items())) for row in evidence]
    measures = by_name(SpeakerSimilarity(judge=judge), [make_sample(evidence=row) for row in evidence])
    assert measures[f"speaker_similarity{suffix}"].value == pytest.approx(0.5)
    assert measures[f"speaker_similarity{suffix}.skipped"].value == 2


def test_similarity_margin_uses_prompts_of_other_speakers(make_sample):
    """Cosines 1 with its own prompt and 0 and 0.6 with b's; b's first is closer to a; c's speech has no voice."""
    east, north, between, none = (
        torch.tensor([2.0, 0.0]),
        torch.tensor([0.0, 1.0]),
        torch.tensor([0.6, 0.8]),
        torch.full((2,), torch.nan),
    )
    rows = [("a", east, east), ("b", north, east), ("b", between, 3 * between), ("c", north, none), ("", north, north)]
    samples = [make_sample(speaker=speaker, voices=Voices(prompt, speech)) for speaker, prompt, speech in rows]
    margins = [1 - (0 + 0.6) / 2, 0 - 1, 1 - 0.6]
    measures = by_name(SpeakerSimilarityMargin(), samples)
    assert measures["speaker_similarity_margin"].value == pytest.approx(sum(margins) / 3)
    assert measures["speaker_similarity_margin.skipped"].value == 2
    metric = SpeakerSimilarityMargin()
    parts = metric.numerators_and_denominators(json.loads(json.dumps([metric.trait_of(sample) for sample in samples])))
    assert [part and part[0] for part in parts] == [*map(pytest.approx, margins), None, None]


def test_similarity_margin_of_one_voice_is_zero(make_sample):
    speech, prompts = torch.tensor([0.3, 0.9, -0.2]), torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    samples = [make_sample(speaker=str(n % 3), voices=Voices(prompt, speech)) for n, prompt in enumerate(prompts)]
    assert by_name(SpeakerSimilarityMargin(), samples)["speaker_similarity_margin"].value == pytest.approx(0, abs=1e-6)
    alone = by_name(SpeakerSimilarityMargin(), samples[::3])
    assert (alone["speaker_similarity_margin"].count, alone["speaker_similarity_margin.skipped"].value) == (0, 2)


def test_predicted_mos_is_mean_and_skips_nan(make_sample):
    measures = by_name(PredictedMos(), [make_sample(quality=mos) for mos in (4.0, 2.5, None, math.nan)])
    assert (measures["predicted_mos"].value, measures["predicted_mos"].higher_is_better) == (3.25, True)
    assert measures["predicted_mos.skipped"].value == 2


def test_speaking_rate_counts_seconds_without_words(make_sample):
    """3 words in 0.1 s, none in 0.2 s: 10 per second."""
    spoken = [make_sample(recognised="Moo, the cow!"), make_sample(recognised="", generated=torch.zeros(3200))]
    measures = by_name(
        SpeakingRate(), [*spoken, make_sample(recognised="", generated=torch.zeros(0)), make_sample(recognised=None)]
    )
    assert measures["speaking_rate"].value == pytest.approx(10)
    assert (measures["speaking_rate.seconds"].value, measures["speaking_rate.skipped"].value) == (pytest.approx(0.3), 2)


def test_length_and_mel_metrics_skip_sample_without_recording(make_sample):
    """0.1 s for 0.2 s, and 0.3 s for 0.2 s: one second per second."""
    longer = make_sample(
        generated=torch.zeros(4800),
        stopped=False,
        generated_mel=torch.ones(16, 4),
        teacher_forced_mel=torch.full((16, 4), 3.0),
    )
    bare = make_sample(reference=torch.zeros(0), reference_mel=torch.zeros(0, 4))
    samples = [make_sample(), longer, bare]
    assert by_name(StoppedShare(), samples)["stopped"].value == pytest.approx(2 / 3)
    ratio = by_name(LengthRatio(), samples)
    assert (ratio["length_ratio"].value, ratio["length_ratio.skipped"].value) == (pytest.approx(1.0), 1)
    free = by_name(FreeRunningMelError(), samples)
    assert (free["mel_l1_free_running"].value, free["mel_l1_free_running.frames"].value) == (pytest.approx(16 / 24), 24)
    forced = by_name(TeacherForcedMelError(), samples)
    assert (forced["mel_l1_teacher_forced"].value, forced["mel_l1_teacher_forced.skipped"].value) == (3.0, 2)


def test_text_stopped_skips_system_without_text(make_sample):
    samples = [make_sample(text_stopped=value) for value in (True, False, False, None)]
    measures = by_name(TextStoppedShare(), samples)
    assert measures["text_stopped"].value == pytest.approx(1 / 3)
    assert measures["text_stopped.skipped"].value == 1


FORCED = [MelCepstralDistance(), PitchError()]
COPIES = [MelDistance(), StftDistance()]
METRICS = [*all_metrics(), SpeakerSimilarity(judge="speaker_embedder"), *FORCED, *COPIES]


@pytest.fixture
def three(make_sample):
    """Make three samples that every metric can use."""
    voice = torch.eye(3)
    return [
        make_sample(
            speaker="abb"[n], recognised=["the cow moo", "the the cow", "a duck"][n],
            text_score=TextScore(2.0 + n, 3), quality=3.0 + n, stopped=n > 0, text_stopped=n > 0,
            voices=Voices(voice[0], voice[n] + voice[0]),
            teacher_forced_mel=torch.full((16, 4), float(n)),
            generated=harmonics(120 + 10 * n), reference=harmonics(120),
        )
        for n in range(3)
    ]  # fmt: skip


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: type(metric).__name__)
def test_stored_parts_give_same_measures(metric, three, make_sample):
    """Stored parts pass through JSON, where a sample that cannot be used is null."""
    samples = [
        *three,
        make_sample(continuation_text=None, answers=[], transcript=None, recognised="", reference=torch.zeros(0)),
    ]
    metric.reset()
    metric.update(samples)
    measured = metric.measures()
    if isinstance(metric, CorpusMetric):
        parts = metric.numerators_and_denominators([metric.trait_of(sample) for sample in samples])
    else:
        parts = [metric.numerator_and_denominator(sample) for sample in samples]
    metric.reset()
    for part in json.loads(json.dumps(parts)):
        metric.add_parts([part])
    assert metric.measures() == measured
    assert metric.skips != SpokenMetric.skips
    metric.reset()


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_sample_order_does_not_change_value(order, three):
    for metric in all_metrics():
        metric.update(three)
        value = metric.measures()[0].value
        metric.reset()
        metric.update([three[place] for place in order])
        assert metric.measures()[0].value == pytest.approx(value)


def test_text_scorer_reads_normalised_transcripts():
    class Lengths(TextScorer):
        title = "lengths"

        def load(self):
            pass

        def score(self, texts):
            read.extend(texts)
            return [(float(len(text)), 1) for text in texts]

    read: list[str] = []
    samples = [replace(sample, evidence={}) for sample in usable_samples()[:2]]
    for sample, heard in zip(samples, ("THE COW, SAYS: MOO!", "the cow says moo"), strict=True):
        sample.evidence["ear"] = {TRANSCRIPT: heard}
    found = Lengths().assess(samples)
    assert read == ["the cow says moo"] * 2
    assert found[0] == found[1]
