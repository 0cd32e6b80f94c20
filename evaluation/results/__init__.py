"""Results of an evaluation: records of items and summaries of metrics."""
