"""``python -m spectron``: the ``spectron`` command."""

import sys

from spectron.cli.parser import command

sys.exit(command())
