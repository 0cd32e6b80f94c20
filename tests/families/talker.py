"""YAML of a tiny Spectron that speaks, for tests of commands."""

TALKER = """
name: talker
task: spectron.training.SpectronModule
shared: {mel: {n_mels: 20}}
model:
  encoder: {class_path: spectron.encoders.FrameStackEncoder, init_args: {output_dim: 8, mel: "${shared.mel}"}}
  language_model:
    class_path: spectron.language_models.CausalLanguageModel
    init_args:
      config: {model_type: llama, hidden_size: 16, intermediate_size: 16, num_hidden_layers: 1, num_attention_heads: 2}
      tokenizer: {text: "${here}/text.txt", vocabulary_size: 60}
  head:
    class_path: spectron.heads.MelRegressionHead
    init_args: {mel: "${shared.mel}", frames_per_step: 2, post_net_width: 8}
  vocoder: {class_path: spectron.vocoders.GriffinLimVocoder, init_args: {iterations: 2}}
"""
