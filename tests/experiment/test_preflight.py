"""Checks before a run is opened."""

from contextlib import nullcontext
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from spectron.errors import DataError
from spectron.experiment.preflight import set_up_data


class Task:
    """Task that refuses every text."""

    def require_usable_texts(self, data):
        raise DataError(f"{data.texts} cannot be learnt")


def test_texts_are_checked_after_the_data_are_read():
    data = SimpleNamespace(texts=None, setup=lambda stage: setattr(data, "texts", "read"))
    experiment = SimpleNamespace(document=SimpleNamespace(naming_files=lambda key: nullcontext()))
    with pytest.raises(DataError, match=r"^read cannot"):
        set_up_data(experiment, MagicMock(), Task(), data, "fit")
