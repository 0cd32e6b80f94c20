"""Systems that answer prompts: the model under test, baselines and toplines."""
