"""Tracking of runs in MLflow: logging, outbox, stored runs, provenance, comparison, reference curves."""
