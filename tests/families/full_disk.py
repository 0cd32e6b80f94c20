"""A disk that takes no larger files."""

import resource
from contextlib import contextmanager


@contextmanager
def files_of_at_most(size):
    """Let the system refuse larger files, as a full disk does in the middle of a file."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
