"""The ``spectron`` command: the composition root, the only package that imports all others."""
