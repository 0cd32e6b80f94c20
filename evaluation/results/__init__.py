"""Results of an evaluation: records of its items and summaries of its metrics."""
