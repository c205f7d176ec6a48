"""Two towers and what stands between them."""

import pytest
import torch
from torch import nn

from ris_lib.contract import FusionOutput
from ris_lib.encoders import StagedEncoder, TinyImage, TinyText
from tests.tiny_batches import make_batch


class Probe(nn.Module):
    """A fusion block with four different outputs, which notes what it got."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, pixels, size, words, word_mask, explain=False):
        self.seen.append((pixels, size, words))
        maps = words.new_ones(len(words), words.shape[1], *size)
        return FusionOutput(
            pixels=pixels + 1,
            words=words + 1,
            pyramid=pixels * 0 + 7,
            decoder_words=words * 0 + 9,
            explanation={"word_pixel_attention": maps} if explain else {},
        )


def make(fusions, layers=(1, 1, 1, 1)):
    torch.manual_seed(0)
    image = TinyImage(widths=(8, 8, 16, 16), strides=(4, 8, 16, 16), detail_channels=8)
    return StagedEncoder(image, TinyText(12, mask_id=2, width=8, layers=layers, heads=2), fusions)


def test_without_fusion_maps_stay_per_image():
    encoded = make([None] * 4)(make_batch())
    assert [tuple(m.values.shape) for m in encoded.pyramid] == [
        (2, 8, 16, 16),
        (2, 8, 8, 8),
        (2, 16, 4, 4),
        (2, 16, 4, 4),
    ]
    assert [m.stride for m in encoded.pyramid] == [4, 8, 16, 16]
    assert not any(m.per_sentence for m in encoded.pyramid)
    assert (encoded.detail.stride, encoded.detail.per_sentence) == (2, False)


def test_the_first_fusion_makes_one_copy_for_each_sentence():
    encoder = make([None, Probe(), None, Probe()])
    encoded = encoder(make_batch())
    assert [m.per_sentence for m in encoded.pyramid] == [False, True, True, True]
    assert encoded.pyramid[2].values.shape[0] == 3
    pixels, size, _ = encoder.fusions["1"].seen[0]
    assert pixels.shape == (3, 64, 8)
    assert size == (8, 8)
    torch.testing.assert_close(pixels[0], pixels[1])


def test_each_output_of_a_block_goes_where_it_belongs():
    encoder = make([None, None, Probe(), Probe()])
    encoded = encoder(make_batch())
    first, second = encoder.fusions["2"].seen[0], encoder.fusions["3"].seen[0]
    assert (encoded.pyramid[2].values == 7).all()
    assert (encoded.words == 9).all()
    as_map = (first[0] + 1).transpose(1, 2).unflatten(2, first[1])
    torch.testing.assert_close(second[0], encoder.image_tower.stage(3, as_map).flatten(2).transpose(1, 2))
    batch = make_batch()
    expected = encoder.text_tower.finish(encoder.text_tower.group(3, first[2] + 1, batch.word_mask))
    torch.testing.assert_close(second[2], expected)


@pytest.mark.parametrize("layers", [(2, 0, 0, 0), (1, 1, 1, 1)])
def test_text_alone_equals_text_beside_the_image(layers):
    encoder, batch = make([None] * 4, layers), make_batch()
    encoded = encoder(batch)
    torch.testing.assert_close(encoder.encode_text(batch.token_ids, batch.word_mask), encoded.words)
    hidden = torch.zeros_like(batch.word_mask)
    hidden[0, 0] = True
    assert not torch.allclose(encoder.encode_text(batch.token_ids, batch.word_mask, hidden)[0], encoded.words[0])


def test_words_are_finished_before_the_first_block_when_the_text_runs_first():
    encoder = make([Probe(), None, None, None], layers=(2, 0, 0, 0))
    encoder(make_batch())
    words = encoder.fusions["0"].seen[0][2]
    torch.testing.assert_close(words.mean(dim=-1), torch.zeros(3, 5), atol=1e-5, rtol=0)


def test_explanations_are_gathered_in_order():
    encoder = make([None, Probe(), None, Probe()])
    shapes = [tuple(m.shape) for m in encoder(make_batch(), explain=True).explanation["word_pixel_attention"]]
    assert shapes == [(3, 5, 8, 8), (3, 5, 4, 4)]
    assert encoder(make_batch()).explanation == {}


def test_four_fusion_entries_are_needed():
    with pytest.raises(ValueError, match="3 fusion entries"):
        make([None] * 3)


def test_a_detail_map_has_a_stride():
    encoder = make([None] * 4)
    encoder.image_tower.detail_stride = None
    with pytest.raises(ValueError, match="detail_stride=None"):
        encoder(make_batch())
