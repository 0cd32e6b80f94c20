"""The page on the paper's claims, compared with the study that produced it."""

from pages import doc

from spectron.experiment.experiment import Experiment


def test_claims_page_has_every_row_and_published_value(studies):
    page = doc("claims")
    lines = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")]
    rows = {cells[0].removeprefix("| "): cells[-1].removesuffix(" |") for cells in lines}
    study = studies["claims"]
    assert {row.title for row in study.rows.values()} <= rows.keys()
    published = {row.title: row.published for row in study.rows.values() if row.published is not None}
    assert len(published) == 6
    assert {title: float(rows[title]) for title in published} == published
    steps = Experiment.read(study.train).config["trainer"]["max_steps"]
    assert f"{steps:,} steps of 24 s" in page
