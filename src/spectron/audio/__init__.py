"""Audio files, resampling and spectrograms, with conversions between seconds, samples and frames."""
