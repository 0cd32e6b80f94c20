"""The project's studies, each composed once."""

import pytest
from places import EXPERIMENTS


@pytest.fixture(scope="session")
def studies(tmp_path_factory):
    """Return each study of the project by its name."""
    from spectron.evaluation.study.study import Study

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECTRON_RUNS", str(tmp_path_factory.mktemp("runs_of_studies")))
        return {name: Study(EXPERIMENTS / "mini" / f"{name}.yaml") for name in ("claims", "speaking")}
