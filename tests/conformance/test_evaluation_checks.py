"""Each check of metrics and judges fails for a class that breaks its rule."""

import re
from typing import ClassVar

import pytest
import torch

from spectron.conformance import examine
from spectron.evaluation.judges import Judge, SpeakerEmbedder, SpeechJudge, TextScorer, Transcriber
from spectron.evaluation.metrics import MetricSpec, RatioMetric
from spectron.tracking.measure import MetricValue


class Words(RatioMetric):
    """Words heard a second; keeps every rule."""

    label = MetricSpec("words_heard", "words/s", True)
    needs = frozenset({"transcript"})

    def numerator_and_denominator(self, sample):
        return (
            (len(self.evidence(sample, "transcript").split()), sample.generated_seconds)
            if sample.generated_seconds
            else None
        )


class Unlabelled(Words):
    label = "words_heard"


class Misspelt(Words):
    needs = frozenset({"transcripts"})


class Undeclared(Words):
    needs = frozenset({"voice"})


class Twice(Words):
    def measures(self):
        return super().measures() * 2


class Untold(Words):
    def measures(self):
        return [*super().measures(), MetricValue("words", 1.0, 1)]


class MeanOfBatches(Words):
    """Every batch weighs the same."""

    def update(self, samples):
        parts = [part for part in map(self.numerator_and_denominator, samples) if part]
        self.skipped += len(samples) - len(parts)
        for _ in parts:
            self.numerators.append(torch.tensor([sum(p[0] for p in parts) / sum(p[1] for p in parts)]))
            self.denominators.append(torch.ones(1))


class AgainstTheLast(Words):
    """The change from the sample before."""

    last = 0

    def numerator_and_denominator(self, sample):
        words, self.last = (
            len(self.evidence(sample, "transcript").split()) - 2 * self.last,
            len(self.evidence(sample, "transcript").split()),
        )
        return (words, 1.0) if sample.generated_seconds else None


class Listed(Words):
    """Keeps its sums where torchmetrics does not know of them."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def update(self, samples):
        self.kept += samples

    def tally(self):
        parts = [part for part in map(self.numerator_and_denominator, self.kept) if part]
        numerators, denominators = torch.tensor(parts, dtype=torch.double).reshape(-1, 2).T
        return numerators, denominators, len(self.kept) - len(parts)


class ForgetsItsOwn(Listed):
    """The same, forgotten at a reset; over processes it is still not there."""

    def reset(self):
        super().reset()
        self.kept = []


class Infinite(Words):
    def numerator_and_denominator(self, sample):
        return len(self.evidence(sample, "transcript").split()), sample.generated_seconds


class Careless(Words):
    needs = frozenset()

    def numerator_and_denominator(self, sample):
        return len(sample.continuation_text.split()), 1


class Silent(Words):
    def measures(self):
        return super().measures()[:1]


class OtherScores(Words):
    def scores(self, sample):
        return {"words_heard": float(len(self.evidence(sample, "transcript").split()))}


class Choosy(Words):
    def numerator_and_denominator(self, sample):
        return super().numerator_and_denominator(sample) if sample.speaker == "me" else None


class Counter(Transcriber):
    """Writes down how long and how loud it was; keeps every rule."""

    title = "Counter"

    def load(self):
        pass

    def transcribe(self, waveforms, sample_rate_hz):
        return [f"{len(row)} {row.abs().sum():.4g}" if row.any() else "" for row in waveforms]


class Untitled(Counter):
    title = ""


class Bundled(Counter):
    def transcribe(self, waveforms, sample_rate_hz):
        return [" ".join(super().transcribe(waveforms, sample_rate_hz))]


class Padded(Counter):
    def transcribe(self, waveforms, sample_rate_hz):
        rows = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True)
        return super().transcribe(list(rows), sample_rate_hz)


class HearsNothing(Counter):
    def transcribe(self, waveforms, sample_rate_hz):
        return [f"{len(row)}" for row in waveforms]


class OneRate(Counter):
    def transcribe(self, waveforms, sample_rate_hz):
        if sample_rate_hz != 16000:
            raise ValueError("16 kHz, please")
        return super().transcribe(waveforms, sample_rate_hz)


class Letters(TextScorer):
    """A nat a letter; keeps every rule."""

    title = "Letters"

    def load(self):
        pass

    def score(self, texts):
        return [(float(len(text)), len(text)) for text in texts]


class StartCounted(Letters):
    def score(self, texts):
        return [(nats + 1, tokens + 1) for nats, tokens in super().score(texts)]


class Short(Letters):
    def score(self, texts):
        if max(map(len, texts)) > 1000:
            raise IndexError("index out of range in self")
        return super().score(texts)


class Moody(Letters):
    def score(self, texts):
        return [(nats * (1 + float(torch.rand(()))), tokens) for nats, tokens in super().score(texts)]


class Energy(SpeakerEmbedder):
    """Two numbers; keeps every rule."""

    title = "Energy"

    def load(self):
        pass

    def embed(self, waveforms, sample_rate_hz):
        rows = [
            torch.stack([row.mean(), row.std(correction=0)]) if row.any() else torch.full((2,), torch.nan)
            for row in waveforms
        ]
        return torch.nn.functional.normalize(torch.stack(rows), dim=1, eps=0.0)


class Long(Energy):
    def embed(self, waveforms, sample_rate_hz):
        return 2 * super().embed(waveforms, sample_rate_hz)


class Everyone(Energy):
    def embed(self, waveforms, sample_rate_hz):
        return super().embed(waveforms, sample_rate_hz).nan_to_num(0.5**0.5)


class Shifted(Energy):
    """An empty row makes others change places."""

    def embed(self, waveforms, sample_rate_hz):
        rows = super().embed(waveforms, sample_rate_hz)
        return rows if all(map(len, waveforms)) else torch.cat([rows[1:2], rows[:1], rows[2:]])


class Loudness(SpeechJudge):
    """A judge of evidence that the platform does not know; keeps every rule."""

    title = "Loudness"
    gives = frozenset({"loudness"})

    def load(self):
        pass

    def listen(self, waveforms, sample_rate_hz):
        return [{"loudness": float(row.abs().max()) if row.any() else None} for row in waveforms]


class Generous(Loudness):
    def listen(self, waveforms, sample_rate_hz):
        return [evidence | {"pitch": 100.0} for evidence in super().listen(waveforms, sample_rate_hz)]


class Stingy(Loudness):
    gives = frozenset()


class Relative(Loudness):
    """The loudest row of the batch has 1."""

    def listen(self, waveforms, sample_rate_hz):
        most = max(row.abs().sum() for row in waveforms)
        return [{"loudness": float(row.abs().sum() / most) if row.any() else None} for row in waveforms]


class Repetition(Judge):
    """A judge of whole samples that needs a transcript; keeps every rule."""

    title = "Repetition"
    gives = frozenset({"repetition"})
    needs = frozenset({"transcript"})

    def load(self):
        pass

    def assess(self, samples):
        transcripts = [sample.evidence_of("transcript", self.judge) for sample in samples]
        return [{"repetition": len(text.split()) - len(set(text.split()))} for text in transcripts]


class Loud(RatioMetric):
    """A metric of a custom judge's evidence; keeps every rule."""

    label = MetricSpec("loud", "share", True)
    needs = frozenset({"loudness"})
    examples: ClassVar = {"loudness": [0.1, 0.9, 0.8]}

    def numerator_and_denominator(self, sample):
        loudness = self.evidence(sample, "loudness")
        return None if loudness is None else (float(loudness > 0.5), 1)


class Unexplained(Loud):
    examples: ClassVar = {}


def verdicts(kind):
    return {verdict.name: verdict for verdict in examine(kind(), kind)}


@pytest.mark.parametrize("kind", [Words, Loud, Counter, Letters, Energy, Loudness, Repetition])
def test_sound_metric_or_judge_passes(kind):
    found = verdicts(kind)
    assert all(verdict.passed for verdict in found.values()), found


def test_check_details_state_values():
    """15 words in 5 samples of 0.5 to 0.9 s; a sample of silence counts, one without speech does not."""
    found = verdicts(Words)
    assert found["form"].detail == "words_heard in words/s, higher is better; 5 of 5 made-up samples used"
    assert found["pieces"].detail.endswith(f"one by one and at once: {15 / 3.5:.5g}")
    assert found["odd samples"].detail == "skipped: one without speech, one without anything"
    assert found["needs"].detail == "needs transcript, and reads no other"
    assert verdicts(Letters)["batch against single"].detail.endswith(
        "16 nats of 16 tokens, 58 nats of 58 tokens, 3 nats of 3 tokens"
    )


@pytest.mark.parametrize(
    ("kind", "check", "seen"),
    [
        (Unlabelled, "form", r"sets no label: set label = MetricSpec"),
        (Misspelt, "form", r"needs transcripts, and the platform's judges give .*transcript, .*: correct `needs`"),
        (Twice, "form", r"words_heard, words_heard\.skipped more than once: give every"),
        (Untold, "form", r"measures returns words, and measure_names does not: add"),
        (Undeclared, "needs", r"AttributeError: 'NoneType'"),
        (MeanOfBatches, "pieces", r"add up sums and counts.*words_heard is .* of 5, and should be"),
        (AgainstTheLast, "order", r"in reverse order give something else: let no"),
        (Listed, "reset", r"before a reset is in the result: keep all .*add_state"),
        (ForgetsItsOwn, "ranks", r"added up give something else: keep all .*add_state.* of 2, and should be .* of 5"),
        (
            Infinite,
            "odd samples",
            r"one without speech alone: words_heard is nan; leave out a sample that has no value",
        ),
        (Careless, "odd samples", r"test_evaluation_checks\.py, line \d+: AttributeError"),
        (Silent, "odd samples", r"5 used and 0 told as skipped, of 6; count .* named words_heard\.skipped"),
        (OtherScores, "scores", r"scores says 4\.0, measures 8\.0\. Work both out"),
        (Untitled, "form", r"its title is '': return class and weights"),
        (Bundled, "form", r"1 answers to 3 items: answer each"),
        (OneRate, "form", r"line \d+: ValueError: 16 kHz"),
        (Padded, "batch against single", r"item 1 has another answer alone.*mask the padding"),
        (HearsNothing, "odd items", r"hears '0' in no sample: return ''"),
        (StartCounted, "odd items", r"1\.0 nats and 1 tokens for an empty text: return \(0\.0, 0\)"),
        (Short, "odd items", r"IndexError: index out of range"),
        (Moody, "repeatability", r"item 0 has another answer when asked again: only load"),
        (Long, "form", r"an embedding of length 2: divide"),
        (Everyone, "odd items", r"finds a voice where there is none: return a row of NaN"),
        (Unexplained, "form", r"needs loudness, .* set examples = \{'loudness': \[\.\.\.\]\}"),
        (Stingy, "form", r"its evidence `gives` is frozenset\(\): set gives"),
        (Generous, "form", r"gives pitch, which is not in `gives` \(loudness\)"),
        (Relative, "batch against single", r"item 1 has another answer alone"),
        (Shifted, "odd items", r"item 0 has another answer beside empty and odd ones: keep the rows"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_broken_rule_fails_its_check(kind, check, seen):
    found = verdicts(kind)[check]
    assert found.passed is False
    assert re.search(seen, found.detail), found.detail


def test_metric_that_uses_no_sample_is_not_checked():
    found = verdicts(Choosy)
    assert found["form"].detail.endswith("0 of 5 made-up samples used")
    assert (found["pieces"].passed, found["pieces"].detail) == (None, "it can use none of the made-up samples")
