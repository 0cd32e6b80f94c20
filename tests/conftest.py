"""Fixtures of all tests: stores of runs, a small synthetic corpus, and tiny models by family."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

# Set before torch starts its threads: two test processes on two cores are faster with one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What can be computed again is kept away from the user's own cache.
os.environ["SPECTRON_CACHE"] = tempfile.mkdtemp(prefix="spectron-tests-")
atexit.register(shutil.rmtree, os.environ["SPECTRON_CACHE"], ignore_errors=True)

# Modules that train, speak a corpus, start processes or run judges: `make test-fast` leaves them out.
SLOW = [
    "contracts/test_contracts",
    "cli/test_continuing",
    "cli/test_verbs",
    "conformance/test_evaluation_checks",
    "config/test_user_classes",
    "datamodules/prepare/test_prepare",
    "datamodules/synthetic/test_synthetic",
    "datamodules/test_speech",
    "docs/test_commands",
    "encoders/test_pretrained",
    "encoders/test_training",
    "evaluation/callbacks/test_speech_evaluation",
    "evaluation/callbacks/test_vocoder_evaluation",
    "evaluation/comparison/test_comparing",
    "evaluation/judges/test_judges",
    "evaluation/judges/test_lexicon",
    "evaluation/judges/test_pretrained_judges",
    "evaluation/report/test_report",
    "evaluation/study/test_study",
    "evaluation/suites/test_suite",
    "experiment/test_mutated_checkpoints",
    "experiment/test_resolved",
    "experiment/test_resume",
    "experiments/test_bundled_model",
    "experiments/test_one_step",
    "golden/test_loss_curve",
    "heads/test_codec",
    "heads/test_unit",
    "inference/test_speaker",
    "processes/test_workers",
    "tracking/test_logger",
    "tracking/test_reference_curves",
    "tracking/test_run_comparison",
    "training/test_vocoding",
]


def pytest_collection_modifyitems(items):
    """Mark the tests of slow modules."""
    tests = Path(__file__).parent
    for item in items:
        if item.path.relative_to(tests).with_suffix("").as_posix() in SLOW:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def make_runs(tmp_path_factory):
    """Return a function that makes a folder of runs with an empty store.

    The store is copied, because creating a database takes seconds.
    """
    from mlflow import MlflowClient

    store = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{store}").search_experiments()

    def make(folder: Path) -> Path:
        folder.mkdir()
        shutil.copy(store, folder)
        return folder

    return make


@pytest.fixture(scope="module")
def runs(tmp_path_factory, make_runs):
    """Set one folder of runs for the module."""
    folder = make_runs(tmp_path_factory.mktemp("module") / "runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECTRON_RUNS", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield folder


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory) -> Path:
    """Write a corpus with two training voices, few sentences, and every seventh question of the validation splits."""
    from spectron.datamodules.synthetic import corpus
    from spectron.datamodules.synthetic.corpus_plan import CorpusSettings, Plan, plan_corpus

    def thinned(settings: CorpusSettings) -> Plan:
        # The settings cannot reduce the validation splits, whose synthesis would take most of the time.
        plan = plan_corpus(settings)
        plan.questions = [q for i, q in enumerate(plan.questions) if q.split == "train" or i % 7 == 0]
        return plan

    folder = tmp_path_factory.mktemp("corpus") / "small"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "plan_corpus", thinned)
        corpus.write_corpus(folder, small_settings(CorpusSettings), workers=0)
    return folder


def small_settings(kind):
    """Return the settings of the small corpus, as an object of the given class."""
    sizes = {
        "voices": 2,
        "carriers": 12,
        "dev_carriers": 4,
        "judge_carriers": 8,
        "wordings_per_voice": 1,
        "unseen_share": 0.2,
    }
    return kind(**sizes, text_lines=200, judge_text_lines=400)


def written_once(write: Callable[[str, Path], Path], folder: Path) -> Callable[[str], Path]:
    """Return a function that gives the folder of a family's tiny model and writes it at the first call."""
    return cache(lambda family: write(family, folder / family))


@pytest.fixture(scope="session")
def tiny_language_model(tmp_path_factory):
    """Return a function that gives the folder of a family's tiny causal LM, written once."""
    from language_models import write_language_model

    return written_once(write_language_model, tmp_path_factory.mktemp("language_models"))


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory):
    """Return a function that gives the folder of a family's tiny speech encoder, written once."""
    from speech_encoders import write_speech_encoder

    return written_once(write_speech_encoder, tmp_path_factory.mktemp("speech_encoders"))


@pytest.fixture(scope="session")
def tiny_judge(tmp_path_factory):
    """Return a function that gives the folder of a tiny recogniser or speaker encoder, written once."""
    from speech_judges import write_speech_judge

    return written_once(write_speech_judge, tmp_path_factory.mktemp("speech_judges"))
