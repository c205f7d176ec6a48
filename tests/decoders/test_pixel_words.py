"""The transformer decoder in which pixels ask words."""

import pytest
import torch
from torch import nn

from ris_lib.decoders.pixel_words import PixelWordDecoder, PixelWordLayer

MASK = torch.tensor([[True, True, False, False, False], [True] * 5])


def make(**options):
    torch.manual_seed(0)
    return PixelWordDecoder(8, 6, **{"layers": 2, "heads": 2, "feed_forward": 16, **options}).eval()


def inputs():
    random = torch.Generator().manual_seed(1)
    return torch.randn(2, 8, 3, 4, generator=random), torch.randn(2, 5, 6, generator=random)


def test_the_attentions_are_torchs():
    torch.manual_seed(0)
    layer, (feature_map, words) = PixelWordLayer(8, 6, heads=2, feed_forward=16).eval(), inputs()
    pixels, positions, word_positions = feature_map.flatten(2).mT, torch.randn(12, 8), torch.randn(5, 6)

    def reference(attention, key_dim):
        module = nn.MultiheadAttention(8, 2, kdim=key_dim, vdim=key_dim, batch_first=True)
        parts = (attention.query, attention.key, attention.value)
        with torch.no_grad():
            if key_dim == 8:
                module.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
            else:
                for name, part in zip("qkv", parts):
                    getattr(module, f"{name}_proj_weight").copy_(part.weight)
            module.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
            module.out_proj.load_state_dict(attention.out.state_dict())
        return module

    normed = layer.pixel_norm(pixels)
    mixed = reference(layer.pixel_attention, 8)(normed + positions, normed + positions, normed)[0]
    x = pixels + layer.pixel_out_norm(mixed)
    asked, weights = reference(layer.word_attention, 6)(
        layer.word_norm(x) + positions, words + word_positions, words, key_padding_mask=~MASK
    )
    x = x + layer.word_out_norm(asked)
    x = x + layer.forward_net(layer.forward_norm(x))
    ours, our_weights = layer(pixels, words, MASK, positions, word_positions, explain=True)
    torch.testing.assert_close(ours, x)
    torch.testing.assert_close(our_weights, weights)


def test_what_all_pixels_gather_alike_is_taken_away():
    layer, (feature_map, words) = PixelWordLayer(8, 6, heads=2, feed_forward=16, centred=True).eval(), inputs()
    pixels, places = feature_map.flatten(2).mT, (torch.randn(12, 8), torch.randn(5, 6))
    with torch.no_grad():
        layer.word_attention.key.weight.zero_()  # every pixel looks at all words alike
    normed = layer.pixel_norm(pixels)
    x = pixels + layer.pixel_out_norm(layer.pixel_attention(normed + places[0], normed + places[0], normed)[0])
    deaf = x + layer.forward_net(layer.forward_norm(x))
    torch.testing.assert_close(layer(pixels, words, MASK, *places)[0], deaf, atol=0.02, rtol=0)


def test_centred_is_an_instance_norm_before_the_norm_of_the_branch():
    torch.manual_seed(0)
    layer, (feature_map, words) = PixelWordLayer(8, 6, heads=2, feed_forward=16, centred=True).eval(), inputs()
    pixels, places = feature_map.flatten(2).mT, (torch.randn(12, 8), torch.randn(5, 6))
    normed = layer.pixel_norm(pixels)
    x = pixels + layer.pixel_out_norm(layer.pixel_attention(normed + places[0], normed + places[0], normed)[0])
    asked, _ = layer.word_attention(layer.word_norm(x) + places[0], words + places[1], words, mask=MASK)
    x = x + layer.word_out_norm(nn.functional.instance_norm(asked.mT).mT)
    x = x + layer.forward_net(layer.forward_norm(x))
    torch.testing.assert_close(layer(pixels, words, MASK, *places)[0], x)


def test_centred_builds_nothing_that_cannot_be_felt_and_refuses_a_single_pixel():
    decoder, (feature_map, words) = make(centred=True), inputs()
    decoder(feature_map, words, MASK)[0].square().sum().backward()
    silent = {name for name, p in decoder.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-6}
    assert all(name.endswith("key.bias") for name in silent)  # a softmax does not change with these
    with pytest.raises(ValueError, match="PixelWordLayer: instance norm over a single position"):
        decoder(feature_map[..., :1, :1], words, MASK)


def test_explaining_changes_nothing_and_sums_to_one_over_the_words():
    decoder = make()
    base, nothing = decoder(*inputs(), MASK)
    explained, attention = decoder(*inputs(), MASK, explain=True)
    assert nothing is None
    torch.testing.assert_close(explained, base, atol=1e-5, rtol=0)
    assert attention.shape == (2, 5, 3, 4)
    torch.testing.assert_close(attention.sum(dim=1), torch.ones(2, 3, 4))
    assert (attention[0, 2:] == 0).all()


def test_padding_never_matters_and_words_always_do():
    decoder, (feature_map, words) = make(), inputs()
    base = decoder(feature_map, words, MASK)[0]
    padded, changed = words.clone(), words.clone()
    padded[~MASK] = 99.0
    changed[:, 0] += 1.0
    torch.testing.assert_close(decoder(feature_map, padded, MASK)[0], base)
    assert not torch.allclose(decoder(feature_map, changed, MASK)[0], base, atol=1e-3)
    more = torch.cat([words, torch.full((2, 3, 6), 7.0)], dim=1)
    mask = torch.cat([MASK, torch.zeros(2, 3, dtype=torch.bool)], dim=1)
    torch.testing.assert_close(decoder(feature_map, more, mask)[0], base)


def test_dropout_acts_in_training_only():
    decoder = make(dropout=0.5)
    torch.testing.assert_close(decoder(*inputs(), MASK)[0], decoder(*inputs(), MASK)[0])
    decoder.train()
    assert not torch.allclose(decoder(*inputs(), MASK)[0], decoder(*inputs(), MASK)[0])


def test_every_parameter_learns():
    decoder = make().train()
    optimizer = torch.optim.SGD(decoder.parameters(), lr=0.1)
    signs = torch.randn(2, 8, 3, 4, generator=torch.Generator().manual_seed(2))
    for _ in range(2):
        optimizer.zero_grad()
        (decoder(*inputs(), MASK)[0] * signs).sum().backward()
        optimizer.step()
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0 for p in decoder.parameters())


@pytest.mark.parametrize(
    ("sizes", "options", "message"),
    [
        ((6, 6), {}, "6 channels of pixels"),
        ((8, 5), {}, "5 of words"),
        ((8, 6), {"heads": 3}, "heads=3"),
        ((8, 6), {"layers": 0}, "layers=0"),
    ],
)
def test_bad_options_are_refused(sizes, options, message):
    with pytest.raises(ValueError, match=message):
        PixelWordDecoder(*sizes, **{"heads": 2, **options})


@pytest.mark.parametrize("mask", [MASK.float(), MASK[:, :4], MASK & False])
def test_bad_word_masks_are_refused(mask):
    with pytest.raises(ValueError, match="PixelWordDecoder"):
        make()(*inputs(), mask)
