"""Several processes: decisions that they make together, and processes that end with their parent."""
