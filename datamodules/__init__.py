"""Speech and text for training and validation: manifests, prompt/continuation splitting, collation, sampling, the synthetic corpus."""
