"""Metrics against hand-worked values, their intervals, and what they skip; the contract's tests add them up over batches."""

import math

import pytest
import torch

from evaluation.metrics import (
    FreeRunningMelError,
    LengthRatio,
    LogPerplexity,
    PromptWordErrorRate,
    SpeakerSimilarity,
    SpeechWordErrorRate,
    SpokenAnswerAccuracy,
    StoppedShare,
    TeacherForcedMelError,
    WrittenAnswerAccuracy,
    bootstrap_interval,
    holds_answer,
    mel_distance,
    normalize,
    voice_similarity,
    word_errors,
)


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
        ("", ["moo"], False, False),
    ],
)
def test_answers_are_found(text, answers, tokens, substring):
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


def test_mel_distance_is_a_sum_of_frame_means_over_the_common_length():
    first = torch.tensor([[1.0, 3.0], [0.0, 0.0], [9.0, 9.0]])
    second = torch.tensor([[0.0, 0.0], [0.5, -0.5]])
    assert mel_distance(first, second) == (2.5, 2)


def test_voice_similarity():
    assert voice_similarity(torch.tensor([3.0, 4.0]), torch.tensor([4.0, 3.0])) == pytest.approx(24 / 25)


def test_word_error_rates_add_up_edits_and_words(make_sample):
    """Two samples, 1 of 4 and 1 of 1 words wrong: 2 / 5, and not the mean of the rates, 0.625."""
    samples = [make_sample(heard="the cow says who"), make_sample(continuation_text="moo", heard="mood")]
    metric = SpeechWordErrorRate()
    measures = by_name(metric, [*samples, make_sample(continuation_text="", heard="mm"), make_sample(continuation_text=None)])
    assert measures["speech_wer"].value == float(metric.compute()) == pytest.approx(2 / 5)
    assert (measures["speech_wer"].count, measures["speech_wer"].higher_is_better) == (2, False)
    assert measures["speech_wer.words"].value == 5
    assert (measures["speech_wer.skipped"].value, measures["speech_wer.skipped"].count) == (2, 4)
    assert metric.scores(samples[0]) == {"speech_wer": 0.25}
    assert metric.scores(make_sample(continuation_text=None)) == {"speech_wer": None}


def test_prompt_word_errors(make_sample):
    wrong = make_sample(transcript="what does a cow")
    assert by_name(PromptWordErrorRate(), [wrong, make_sample(transcript=None)])["prompt_wer"].value == pytest.approx(2 / 5)


def test_log_perplexity_is_a_mean_over_tokens(make_sample):
    """3 nats on 1 token and 1 nat on 3: 4 / 4 = 1 nat a token, perplexity e; a mean of the samples' means would be 5 / 3."""
    samples = [make_sample(nll_nats=3.0, num_tokens=1), make_sample(nll_nats=1.0, num_tokens=3), make_sample(nll_nats=0.0, num_tokens=0)]
    measures = by_name(LogPerplexity(), samples)
    assert measures["log_perplexity"].value == pytest.approx(1.0)
    assert measures["perplexity"].value == pytest.approx(math.e)
    assert measures["perplexity"].high == pytest.approx(math.exp(measures["log_perplexity"].high))
    assert (measures["log_perplexity.tokens"].value, measures["log_perplexity.skipped"].value) == (4, 1)


def test_answers_heard_and_written(make_sample):
    samples = [make_sample(heard="the cow says boo"), make_sample(heard="moo"), make_sample(heard=""), make_sample(answers=[], heard="moo")]
    spoken, written = by_name(SpokenAnswerAccuracy(), samples), by_name(WrittenAnswerAccuracy("substring"), samples)
    assert spoken["qa_accuracy"].value == pytest.approx(1 / 3)
    assert (spoken["qa_accuracy"].unit, spoken["qa_accuracy.skipped"].value) == ("share (tokens)", 1)
    assert (written["qa_text_accuracy"].value, written["qa_text_accuracy"].unit) == (1.0, "share (substring)")


def test_similarity_skips_samples_without_a_voice(make_sample):
    east, north, none = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.full((2,), torch.nan)
    pairs = [(east, east), (east, north), (east, none), (east, None)]
    measures = by_name(SpeakerSimilarity(), [make_sample(prompt_embedding=p, generated_embedding=g) for p, g in pairs])
    assert measures["speaker_similarity"].value == pytest.approx(0.5)
    assert measures["speaker_similarity.skipped"].value == 2


def test_behaviour(make_sample):
    """0.1 s for 0.2 s, and 0.3 s for 0.2 s: one second a second; the sample without recording does not count."""
    longer = make_sample(
        generated=torch.zeros(4800), stopped=False, generated_mel=torch.ones(16, 4), teacher_forced_mel=torch.full((16, 4), 3.0)
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


def test_interval_is_that_of_a_slow_loop():
    numerators, denominators = torch.tensor([1.0, 0.0, 2.0, 5.0]), torch.tensor([4.0, 1.0, 2.0, 5.0])
    generator = torch.Generator().manual_seed(0)
    ratios = []
    for drawn in torch.randint(4, (1000, 4), generator=generator).tolist():
        ratios.append(sum(numerators[i] for i in drawn) / sum(denominators[i] for i in drawn))
    ratios = torch.stack(ratios).sort().values
    low, high = bootstrap_interval(numerators, denominators)
    assert low == pytest.approx(float(ratios.quantile(0.025)), rel=1e-5)
    assert high == pytest.approx(float(ratios.quantile(0.975)), rel=1e-5)
    assert (low, high) == bootstrap_interval(numerators, denominators)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    generator = torch.Generator().manual_seed(1)
    hits = 0
    for _ in range(100):
        values = torch.rand(40, generator=generator)
        low, high = bootstrap_interval(values, torch.ones(40))
        hits += low <= 0.5 <= high
    assert 88 <= hits <= 100


def test_interval_of_too_few_items_and_of_weightless_draws():
    assert all(map(math.isnan, bootstrap_interval(torch.ones(1), torch.ones(1))))
    low, high = bootstrap_interval(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0]))
    assert (low, high) == (1.0, 1.0)
