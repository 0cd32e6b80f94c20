"""Systems that answer prompts: the system under test, baselines and toplines."""
