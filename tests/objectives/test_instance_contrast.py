"""Instance contrast: regions, bands, negatives, against loops."""

import math

import pytest
import torch
import torch.nn.functional as F

from ris_lib.contract import Dims, Encoded, MaskOutput, ModelState, PixelFeatures
from ris_lib.objectives.instance_contrast import InstanceContrast, masks_on_grid, without_band
from tests.tiny_batches import make_batch


def dims(centre=True):
    return Dims((8,) * 4, finest=8, memory=(), context=None, word=6, sentence=6, vocabulary_size=9, centre=centre)


def make_state(batch, seed=0, side=16):
    random = torch.Generator().manual_seed(seed)
    count = len(batch)
    finest = torch.randn(count, 8, side, side, generator=random, requires_grad=True)
    centre = torch.randn(count, 8, generator=random, requires_grad=True)
    words, sentence = torch.zeros(count, 5, 6), torch.randn(count, 6, generator=random)
    encoded = Encoded([], words, sentence, batch.word_mask, batch.word_index, batch.image_index)
    return ModelState(encoded, PixelFeatures(finest, 4), MaskOutput(finest[:, :1], centre=centre), None)


def loss(state, batch, **options):
    return InstanceContrast(dims(), **options)(state, batch)["instance_contrast"]


def by_loops(state, batch, temperature=0.07, band=1):
    """The definition, sample by sample."""
    target = masks_on_grid(batch.masks, (16, 16))
    pixels, total, count = state.features.finest, 0.0, 0

    def mean(k, region):
        region = without_band(region[None], band)[0]
        return F.normalize(pixels[k][:, region].mean(dim=1), dim=0)

    centre = F.normalize(state.output.centre, dim=1)
    inside = [mean(k, target[k]) if target[k].any() else None for k in range(len(batch))]
    outside = [mean(k, ~target[k]) if (~target[k]).any() else None for k in range(len(batch))]
    for i, own in enumerate(inside):
        if own is None:
            continue
        towards, back, negatives = [(centre[i] @ own / temperature).exp()], [(own @ centre[i] / temperature).exp()], 0
        for j in range(len(batch)):
            same = batch.referent_id[i] == batch.referent_id[j]
            if not same and inside[j] is not None:
                towards.append((centre[i] @ inside[j] / temperature).exp())
                back.append((own @ centre[j] / temperature).exp())
                negatives += 1
            if outside[j] is not None and (same or batch.image_index[i] != batch.image_index[j]):
                towards.append((centre[i] @ outside[j] / temperature).exp())
                negatives += 1
        if negatives:
            total = total - 0.5 * ((towards[0] / sum(towards)).log() + (back[0] / sum(back)).log())
            count += 1
    return total, count


def batches():
    plain = make_batch(index=(0, 0, 1, 2))
    twice = make_batch(index=(0, 0, 0, 1))
    twice.referent_id = torch.tensor([5, 5, 6, 7])
    empty, full = make_batch(index=(0, 1, 1)), make_batch(index=(0, 1, 1))
    empty.masks[1] = False
    full.masks[1] = True
    return {"plain": plain, "one instance twice": twice, "empty": empty, "full": full}


@pytest.mark.parametrize("name", batches())
@pytest.mark.parametrize("band", [0, 1, 2])
def test_equals_the_definition(name, band):
    batch = batches()[name]
    state = make_state(batch)
    term = loss(state, batch, band=band)
    total, count = by_loops(state, batch, band=band)
    torch.testing.assert_close(term.sum, total)
    assert term.count == count


def test_by_hand():
    """One picture, one sentence: the centre on the target, the background at a right angle to it."""
    batch = make_batch(index=(0,))
    state = make_state(batch)
    inside = masks_on_grid(batch.masks, (16, 16))
    state.features.finest = torch.zeros(1, 8, 16, 16)
    state.features.finest[0, 0][inside[0]] = 3.0
    state.features.finest[0, 1][~inside[0]] = 2.0
    state.output.centre = torch.eye(8)[:1] * 5
    term = loss(state, batch, temperature=0.5)
    torch.testing.assert_close(term.sum, torch.tensor(0.5 * math.log(1 + math.exp(-2))))
    assert term.count == 1


def test_two_sentences_about_one_object_are_not_negatives():
    """Pitfall 11, first half: the annotated instance decides, also across picture indices."""
    batch = make_batch(index=(0, 1))
    batch.referent_id = torch.tensor([3, 3])
    state = make_state(batch)
    state.output.centre = state.output.centre[:1].expand(2, -1).clone().requires_grad_()
    term = loss(state, batch, negatives="instances")
    assert term.sum == term.count == 0
    batch.referent_id = torch.tensor([3, 4])
    assert loss(state, batch, negatives="instances").sum > 0


def test_the_background_around_another_referent_of_the_picture_is_no_negative():
    """Pitfall 11, second half: it contains the target."""
    batch = make_batch(index=(0, 0, 1))

    def pull_on_the_first_centre(changed=None):
        state = make_state(batch)
        if changed is not None:
            with torch.no_grad():
                state.features.finest[changed] += 1.0
        loss(state, batch, negatives="backgrounds").sum.backward()
        return state.output.centre.grad[0]

    base = pull_on_the_first_centre()
    torch.testing.assert_close(pull_on_the_first_centre(changed=1), base)
    assert not torch.allclose(pull_on_the_first_centre(changed=0), base)
    assert not torch.allclose(pull_on_the_first_centre(changed=2), base)


@pytest.mark.parametrize("negatives", ["all", "instances", "backgrounds"])
def test_the_negatives_can_be_chosen(negatives):
    batch = make_batch(index=(0, 1, 2))
    values = {n: loss(make_state(batch), batch, negatives=n).sum for n in ("all", "instances", "backgrounds")}
    assert values["all"] >= values[negatives] > 0
    assert len(set(values.values())) == 3


def test_a_batch_of_one_has_only_its_background():
    """Pitfall 12."""
    batch = make_batch(index=(0,))
    term = loss(make_state(batch), batch)
    assert term.count == 1
    assert term.sum > 0
    alone = loss(make_state(batch), batch, negatives="instances")
    assert alone.sum == alone.count == 0


@pytest.mark.parametrize("fill", [False, True])
def test_empty_and_full_masks_are_finite(fill):
    batch = make_batch(index=(0, 0, 1))
    batch.masks[:] = fill
    state = make_state(batch)
    term = loss(state, batch)
    assert torch.isfinite(term.sum)
    assert term.count == (3 if fill else 0)
    term.sum.backward()
    assert torch.isfinite(state.features.finest.grad).all()
    assert torch.isfinite(state.output.centre.grad).all()


def test_an_empty_mask_is_not_anybodys_negative():
    batch = make_batch(index=(0, 1, 2))
    batch.masks[1] = False
    state = make_state(batch)
    term = loss(state, batch, negatives="instances")
    assert term.count == 2
    term.sum.backward()
    assert state.output.centre.grad[1].abs().sum() == 0
    assert state.features.finest.grad[1].abs().sum() == 0


def test_small_objects_do_not_vanish():
    """Pitfall 14."""
    masks = torch.zeros(3, 64, 64, dtype=torch.bool)
    masks[0, 10, 21] = True
    masks[1, 8:12, 20:22] = True
    masks[1, 8:12, 24:25] = True
    grid = masks_on_grid(masks, (16, 16))
    assert grid.flatten(1).sum(dim=1).tolist() == [1, 1, 0]
    assert grid[0, 2, 5]
    assert grid[1, 2, 5]


def test_masks_on_the_grid_are_areas_of_at_least_half():
    batch = make_batch()
    share = batch.masks.float().unflatten(1, (16, 4)).unflatten(3, (16, 4)).mean(dim=(2, 4))
    assert torch.equal(masks_on_grid(batch.masks, (16, 16)), share >= 0.5)


def test_the_band_leaves_both_sides_out():
    batch = make_batch(index=(0, 1))
    batch.masks[:, 8:40, 8:48] = True
    state = make_state(batch)
    loss(state, batch, band=1).sum.backward()
    silent = state.features.finest.grad.abs().sum(dim=1) == 0
    target = masks_on_grid(batch.masks, (16, 16))
    grown, kept = (F.max_pool2d(x.float(), 3, 1, 1) > 0 for x in (target, ~target))
    assert torch.equal(silent, grown & kept)


def test_the_border_of_the_picture_is_no_outline():
    region = torch.zeros(1, 4, 4, dtype=torch.bool)
    region[:, :, :3] = True
    assert without_band(region, 1)[0].int().tolist() == [[1, 1, 0, 0]] * 4
    assert torch.equal(without_band(region, 3), region)
    assert torch.equal(without_band(region, 0), region)


def test_only_copies_are_normalised():
    """Pitfall 13: the loss does not see norms, and leaves them as they are."""
    batch = make_batch(index=(0, 1))
    state = make_state(batch)
    before = state.features.finest.clone(), state.output.centre.clone()
    value = loss(state, batch).sum
    assert torch.equal(state.features.finest, before[0])
    assert torch.equal(state.output.centre, before[1])
    state.output.centre = state.output.centre * 7
    torch.testing.assert_close(loss(state, batch).sum, value)


def test_without_a_centre_the_sentence_is_projected():
    batch = make_batch()
    state = make_state(batch)
    objective = InstanceContrast(dims(centre=False))
    assert objective.reads == {"sentence"}
    assert InstanceContrast(dims()).reads == {"centre"}
    objective(state, batch)["instance_contrast"].sum.backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0 for p in objective.parameters())
    assert state.output.centre.grad is None
    projected = objective.project(state.encoded.sentence).detach()
    with_centre = make_state(batch)
    with_centre.output.centre = projected
    torch.testing.assert_close(objective(state, batch)["instance_contrast"].sum, loss(with_centre, batch).sum)


def test_half_precision_is_left_at_the_door():
    batch = make_batch()
    state = make_state(batch)
    state.features.finest = (state.features.finest.detach() * 1000).half()
    state.output.centre = (state.output.centre.detach() * 1000).half()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        term = loss(state, batch)
    assert term.sum.dtype == term.count.dtype == torch.float32
    assert torch.isfinite(term.sum)
    state.features.finest, state.output.centre = state.features.finest.float(), state.output.centre.float()
    torch.testing.assert_close(term.sum, loss(state, batch).sum)


def test_gradients_agree_with_finite_differences():
    batch = make_batch(index=(0, 0, 1))
    random = torch.Generator().manual_seed(0)
    finest = torch.randn(3, 4, 4, 4, dtype=torch.float64, generator=random, requires_grad=True)
    centre = torch.randn(3, 4, dtype=torch.float64, generator=random, requires_grad=True)
    objective = InstanceContrast(dims(), temperature=0.5)
    target = masks_on_grid(batch.masks, (4, 4))
    assert torch.autograd.gradcheck(lambda c, p: objective._contrast(c, p, target, batch).sum, (centre, finest))


def test_its_one_loss_has_weight_one_tenth():
    assert InstanceContrast.default_weights == {"instance_contrast": 0.1}


@pytest.mark.parametrize("missing", ["masks", "referent_id"])
def test_a_batch_without_targets_is_refused(missing):
    batch = make_batch()
    state = make_state(batch)
    setattr(batch, missing, None)
    with pytest.raises(ValueError, match="no referent_id"):
        loss(state, batch)


@pytest.mark.parametrize("centre", [None, torch.zeros(3, 7)])
def test_a_centre_outside_of_the_pixels_space_is_refused(centre):
    batch = make_batch()
    state = make_state(batch)
    state.output.centre = centre
    with pytest.raises(ValueError, match=r"expected \(3, 8\)"):
        loss(state, batch)


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"band": -1}, {"negatives": "none"}])
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        InstanceContrast(dims(), **options)
