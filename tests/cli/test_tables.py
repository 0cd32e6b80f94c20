"""How counts of parameters are told to people."""

from rich.console import Console

from spectron.cli.tables import parts_table
from spectron.tracking.provenance import trainable_line, trainable_share

COUNTS = {"encoder": (0, 88_800_000), "adapters": (1_170_000, 30_000)}


def test_the_trainable_share_by_hand():
    assert trainable_share(COUNTS) == (1_170_000, 90_000_000, 0.013)
    assert trainable_line(COUNTS) == "trainable 1.2 M of 90 M, 1.3 %"
    assert trainable_line({"all": (812, 0)}) == "trainable 812 of 812, 100 %"
    assert trainable_line({"big": (2_500, 1_099_997_500)}) == "trainable 2.5 k of 1.1 B, 0.000227 %"


def test_the_table_of_parts_says_it_too():
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(parts_table(COUNTS))
    text = console.export_text()
    assert "trainable 1.2 M of 90 M, 1.3 %" in text
    assert "88,830,000" in text
