"""Tiny speechbrain models with random weights, in folders as published: hyperparams.yaml and .ckpt files."""

from pathlib import Path

import torch

CRDNN = """
# A CRDNN recogniser with decoder, language model and tokenizer, none of which the encoder needs.
sample_rate: 16000
n_fft: 400
n_mels: 20
activation: !name:torch.nn.LeakyReLU
normalizer: !new:speechbrain.processing.features.InputNormalization
    norm_type: global
compute_features: !new:speechbrain.lobes.features.Fbank
    sample_rate: !ref <sample_rate>
    n_fft: !ref <n_fft>
    n_mels: !ref <n_mels>
enc: !new:speechbrain.lobes.models.CRDNN.CRDNN
    input_shape: [null, null, !ref <n_mels>]
    activation: !ref <activation>
    dropout: 0.15
    cnn_blocks: 1
    cnn_channels: (8,)
    cnn_kernelsize: (3, 3)
    inter_layer_pooling_size: (2,)
    time_pooling: True
    time_pooling_size: 4
    rnn_class: !name:speechbrain.nnet.RNN.LSTM
    rnn_layers: 1
    rnn_neurons: 12
    rnn_bidirectional: True
    dnn_blocks: 1
    dnn_neurons: !ref <n_mels> + 4
ctc_lin: !new:speechbrain.nnet.linear.Linear
    input_size: 24
    n_neurons: 30
encoder: !new:speechbrain.nnet.containers.LengthsCapableSequential
    input_shape: [null, null, !ref <n_mels>]
    compute_features: !ref <compute_features>
    normalize: !ref <normalizer>
    model: !ref <enc>
asr_model: !new:torch.nn.ModuleList
    - [!ref <enc>, !ref <ctc_lin>]
lm_model: !new:torch.nn.Linear
    in_features: 3
    out_features: 3
tokenizer: !new:sentencepiece.SentencePieceProcessor
modules:
    encoder: !ref <encoder>
    lm_model: !ref <lm_model>
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        normalizer: !ref <normalizer>
        asr: !ref <asr_model>
        lm: !ref <lm_model>
        tokenizer: !ref <tokenizer>
"""

CONFORMER = """
sample_rate: 16000
n_mels: 20
compute_features: !new:speechbrain.lobes.features.Fbank
    sample_rate: !ref <sample_rate>
    n_fft: 512
    n_mels: !ref <n_mels>
normalize: !new:speechbrain.processing.features.InputNormalization
    norm_type: global
CNN: !new:speechbrain.lobes.models.convolution.ConvolutionFrontEnd
    input_shape: (8, 10, 20)
    num_blocks: 2
    num_layers_per_block: 1
    out_channels: (8, 4)
    kernel_sizes: (3, 3)
    strides: (2, 2)
    residuals: (False, False)
Transformer: !new:speechbrain.lobes.models.transformer.TransformerASR.TransformerASR
    input_size: 20
    tgt_vocab: 30
    d_model: 16
    nhead: 2
    num_encoder_layers: 2
    num_decoder_layers: 1
    d_ffn: 32
    activation: !name:torch.nn.GELU
    encoder_module: conformer
    attention_type: RelPosMHAXL
    normalize_before: True
    causal: False
Tencoder: !new:speechbrain.lobes.models.transformer.TransformerASR.EncoderWrapper
    transformer: !ref <Transformer>
asr_model: !new:torch.nn.ModuleList
    - [!ref <CNN>, !ref <Transformer>]
encoder: !new:speechbrain.nnet.containers.LengthsCapableSequential
    input_shape: [null, null, !ref <n_mels>]
    compute_features: !ref <compute_features>
    normalize: !ref <normalize>
    cnn: !ref <CNN>
    transformer_encoder: !ref <Tencoder>
modules:
    encoder: !ref <encoder>
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        normalizer: !ref <normalize>
        asr: !ref <asr_model>
"""

ECAPA = """
pretrained_path: speechbrain/spkrec-ecapa-voxceleb
n_mels: 16
compute_features: !new:speechbrain.lobes.features.Fbank
    n_mels: !ref <n_mels>
mean_var_norm: !new:speechbrain.processing.features.InputNormalization
    norm_type: sentence
    std_norm: False
embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
    input_size: !ref <n_mels>
    channels: [16, 16, 16, 16, 48]
    kernel_sizes: [5, 3, 3, 3, 1]
    dilations: [1, 2, 3, 4, 1]
    attention_channels: 16
    lin_neurons: 24
classifier: !new:speechbrain.lobes.models.ECAPA_TDNN.Classifier
    input_size: 24
    out_neurons: 7
modules:
    compute_features: !ref <compute_features>
    mean_var_norm: !ref <mean_var_norm>
    embedding_model: !ref <embedding_model>
    classifier: !ref <classifier>
label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        embedding_model: !ref <embedding_model>
        classifier: !ref <classifier>
        label_encoder: !ref <label_encoder>
    paths:
        embedding_model: !ref <pretrained_path>/embedding_model.ckpt
        classifier: !ref <pretrained_path>/classifier.ckpt
        label_encoder: !ref <pretrained_path>/label_encoder.txt
"""

FOLDERS = {"crdnn": CRDNN, "conformer": CONFORMER, "ecapa": ECAPA}


def write_speechbrain_folder(kind: str, folder: Path) -> Path:
    """Write a tiny model of a kind, with speechbrain's own functions for saving weights."""
    from hyperpyyaml import load_hyperpyyaml

    folder.mkdir(parents=True, exist_ok=True)
    text = FOLDERS[kind]
    (folder / "hyperparams.yaml").write_text(text, encoding="utf-8")
    torch.manual_seed(5)
    # The tokenizer's package is no dependency of the project.
    made = load_hyperpyyaml(text.replace("sentencepiece.SentencePieceProcessor", "torch.nn.Identity"))
    for name, loadable in made["pretrainer"].loadables.items():
        if hasattr(loadable, "glob_mean"):
            loadable.train()(torch.randn(2, 50, made["n_mels"]) * 3 + 1, torch.ones(2))
            loadable._save(folder / f"{name}.ckpt")
        elif isinstance(loadable, torch.nn.Module) and list(loadable.parameters()):
            for key, value in loadable.state_dict().items():
                if value.is_floating_point():
                    value.add_(0.05 * torch.rand_like(value) if "var" in key else 0.05 * torch.randn_like(value))
            torch.save(loadable.state_dict(), folder / f"{name}.ckpt")
    return folder
