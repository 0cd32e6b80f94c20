"""The page of claims is of the study as it stands."""

from places import ROOT

from spectron.evaluation.study.study import Study
from spectron.experiment.experiment import Experiment


def test_the_page_has_every_row_with_its_published_figure():
    page = (ROOT / "docs" / "claims.md").read_text()
    lines = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")]
    rows = {cells[0].removeprefix("| "): cells[-1].removesuffix(" |") for cells in lines}
    study = Study(ROOT / "experiments" / "mini" / "claims.yaml")
    assert {row.title for row in study.rows.values()} <= rows.keys()
    published = {row.title: row.published for row in study.rows.values() if row.published is not None}
    assert len(published) == 6
    assert {title: float(rows[title]) for title in published} == published
    steps = Experiment.read(study.train).config["trainer"]["max_steps"]
    assert f"{steps:,} steps of 24 s" in page
