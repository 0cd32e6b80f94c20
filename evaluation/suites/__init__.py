"""Suites: what an evaluation asks of a system, its plan, and running it."""
