"""Conformer blocks, compared with those of speechbrain, and loading of their weights."""

import pytest
import torch

from spectron.encoders.conformer_blocks import ConformerBlock, RelativePositions

conformer = pytest.importorskip("speechbrain.lobes.models.transformer.Conformer")


def test_relative_positions_equal_speechbrain():
    from speechbrain.nnet.attention import RelPosEncXL

    x = torch.zeros(1, 7, 16)
    torch.testing.assert_close(RelativePositions(16)(x), RelPosEncXL(16)(x), rtol=0, atol=0)


def test_block_equals_speechbrain_on_valid_steps():
    """Without padding: speechbrain lets the depthwise convolution see padded steps."""
    torch.manual_seed(0)
    theirs = conformer.ConformerEncoderLayer(16, 32, 4, kernel_size=5, dropout=0.1).eval()
    ours = ConformerBlock(16, 32, 4, 5, 0.1).eval()
    ours.load_state_dict(theirs.state_dict())
    x, positions = torch.randn(2, 9, 16), RelativePositions(16)(torch.zeros(1, 9, 16))
    padding = torch.zeros(2, 9, dtype=torch.bool)
    expected, _ = theirs(x, src_key_padding_mask=padding, pos_embs=positions)
    torch.testing.assert_close(ours(x, positions, padding), expected)


def test_padding_changes_no_valid_step():
    torch.manual_seed(1)
    block = ConformerBlock(16, 32, 4, 5, 0.0).eval()
    x = torch.randn(1, 9, 16)
    positions = RelativePositions(16)
    alone = block(x[:, :6], positions(x[:, :6]), torch.zeros(1, 6, dtype=torch.bool))
    padded = block(x, positions(x), torch.arange(9)[None] >= 6)
    torch.testing.assert_close(padded[:, :6], alone)
