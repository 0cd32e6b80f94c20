"""Audio in and out, and seconds, samples and frames in one place."""
