"""A damaged outbox loses damaged records alone."""

import json
import random

from stored_mutations import mutate_stored, restored

from spectron.errors import TrackingError
from spectron.tracking.outbox import FILE, Outbox

RECORDS = [
    {"kind": "metrics", "values": {"train/loss": 2.5, "val/loss": float("nan")}, "step": 3, "time_ms": 17},
    {"kind": "params", "values": {"seed": "17"}},
    {"kind": "tags", "values": {"spectron.folder": "/x"}},
    {"kind": "status", "status": "FINISHED", "time_ms": 18},
]


class Client:
    """Store that accepts everything."""

    def __init__(self):
        self.sent = 0

    def log_batch(self, run_id, metrics=(), params=(), tags=()):
        self.sent += bool([*metrics, *params, *tags])

    def set_terminated(self, run_id, status, end_time):
        self.sent += 1


def damage_outbox(folder, seed, cases):
    """Send damaged outboxes; return how many records each of them gave, or the file that cannot be read."""
    draw, file, found = random.Random(seed), folder / FILE, []
    content = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()
    for _ in range(cases):
        restored(file, content)
        mutate_stored(file, draw)
        client = Client()
        outbox = Outbox(client, "r", folder, "sqlite:///x")
        try:
            outbox.flush()
        except TrackingError as error:
            found.append(error.file)
        else:
            found.append(client.sent)
    return found


def test_damaged_outbox_loses_damaged_records_alone(tmp_path):
    found = damage_outbox(tmp_path, 20, 300)
    assert {3, 4, tmp_path / FILE} <= set(found) <= {*range(7), tmp_path / FILE}
