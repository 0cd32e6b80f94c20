"""Suites of an evaluation: checked YAMLs, plans, and their execution."""
