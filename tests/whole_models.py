"""What the tests of whole models share: does every parameter learn, is a model one function however it is asked."""

from dataclasses import fields, replace

import torch
from torch import Tensor, nn

from ris_lib.attention import MultiHeadAttention
from ris_lib.data.batch import Batch
from ris_lib.engine.optimizer import make_optimizer

#: In float64, a gradient this small beside that of the layer's other parameters is what rounding left of zero.
NOISE = 1e-11

#: Parameters of other libraries' layers that a softmax cannot feel; they are there because published weights hold them.
BLIND = (".attention.self.key.bias", ".attention.k_proj.bias", ".attnpool.k_proj.bias")


def softmax_blind(model: nn.Module) -> set[str]:
    """Names of key biases: each adds one number to all scores of a query, which the softmax takes away again."""
    names = {f"{name}.key.bias" for name, m in model.named_modules() if isinstance(m, MultiHeadAttention)}
    return names | {name for name, _ in model.named_parameters() if name.endswith(BLIND)}


def step(model: nn.Module, batch: Batch, optimizer: torch.optim.Optimizer) -> None:
    """Forward, losses, backward; everything must be finite."""
    output = model(batch, with_losses=True)
    assert set(output.losses) == set(model.weights)
    assert all(torch.isfinite(value) for value in output.losses.values()), output.losses
    assert torch.isfinite(output.logits).all()
    optimizer.zero_grad()
    output.loss.backward()


def unlearned(model: nn.Module, batch: Batch, steps: int = 1) -> list[str]:
    """Train for some steps and go back once more; names of parameters that learn nothing even then.

    Gates that start closed let gradients through from the second time on, and faintly: hence float64, where rounding
    cannot pass for a gradient. The optimiser must hold every parameter exactly once.
    """
    model, batch = model.double(), replace(batch, images=batch.images.double())
    optimizer = make_optimizer(model, 3e-3, 0.01)
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for p in model.parameters() if p.requires_grad}
    for _ in range(steps):
        step(model, batch, optimizer)
        optimizer.step()
    step(model, batch, optimizer)
    names = without_gradient(model)
    model.float()
    return names


def without_gradient(model: nn.Module) -> list[str]:
    """Names of trainable parameters whose gradient is missing, not finite, zero, or rounding noise."""
    found, blind = [], softmax_blind(model)
    largest: dict[str, float] = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            layer = name.rpartition(".")[0]
            largest[layer] = max(largest.get(layer, 0.0), parameter.grad.abs().max().item())
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        gradient = parameter.grad
        broken = gradient is None or not torch.isfinite(gradient).all()
        if broken or (name not in blind and gradient.abs().max() <= NOISE * largest[name.rpartition(".")[0]]):
            found.append(name)
    return found


def wrong_gradients(model: nn.Module, batch: Batch) -> list[str]:
    """Losses and parts where the gradient is not what a small step shows; each part is moved in one random direction.

    In float64, with everything moved off its start, because gates that are closed hide what is behind them.
    """
    model, batch = model.double().train(), replace(batch, images=batch.images.double())
    generator = torch.Generator().manual_seed(1)
    parts: dict[str, list[nn.Parameter]] = {}
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        for name, parameter in model.named_parameters():
            parameter += noise_like(parameter, generator) * 0.02
            parts.setdefault(".".join(name.split(".")[: 2 if name.startswith("encoder.") else 1]), []).append(parameter)
    parameters = [parameter for part in parts.values() for parameter in part]

    def losses() -> dict[str, Tensor]:
        torch.manual_seed(0)  # of pixels and words that a loss draws
        return model(batch, with_losses=True).losses

    now = losses()
    gradients = {
        name: dict(zip(parameters, torch.autograd.grad(value, parameters, allow_unused=True, retain_graph=True)))
        for name, value in now.items()
    }
    found = []
    for part, members in parts.items():
        direction = [noise_like(parameter, generator) for parameter in members]
        open_losses = set(now)
        for size in (
            1e-6,
            1e-7,
            1e-8,
            1e-9,
            1e-10,
        ):  # a step may cross the corner of a ReLU; a smaller one then does not
            slopes = _slopes(losses, members, direction, size)
            for name in sorted(open_losses):
                terms = [(gradients[name][p], d) for p, d in zip(members, direction)]
                said = sum(float((gradient * d).sum()) for gradient, d in terms if gradient is not None)
                if abs(slopes[name] - said) <= 1e-2 * (abs(slopes[name]) + abs(said)) + 1e-8:
                    open_losses.remove(name)
        found += [f"{name} by {part}" for name in sorted(open_losses)]
    return found


def _slopes(losses, members, direction, size) -> dict[str, float]:
    """How fast each loss changes in a direction, from one step to either side."""
    start = [parameter.detach().clone() for parameter in members]

    def at(step: float) -> dict[str, float]:
        with torch.no_grad():
            for parameter, value, d in zip(members, start, direction):
                parameter.copy_(value + step * d)
        return {name: float(value.detach()) for name, value in losses().items()}

    ahead, behind = at(size), at(-size)
    with torch.no_grad():
        for parameter, value in zip(members, start):
            parameter.copy_(value)
    return {name: (ahead[name] - behind[name]) / (2 * size) for name in ahead}


def noise_like(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(x.shape, generator=generator, dtype=x.dtype)


def sizes(model: nn.Module) -> tuple[int, int]:
    """Numbers of parameters: of the model, and of what only its objectives need."""
    objectives = sum(p.numel() for p in model.objectives.parameters())
    return sum(p.numel() for p in model.parameters()) - objectives, objectives


def longer(batch: Batch, by: int) -> Batch:
    """The same sentences with more padding."""
    ids, mask, index = batch.token_ids, batch.word_mask, batch.word_index
    return replace(
        batch,
        token_ids=torch.cat([ids, ids.new_full((len(ids), by), 5)], dim=1),
        word_mask=torch.cat([mask, mask.new_zeros(len(ids), by)], dim=1),
        word_index=torch.cat([index, index.new_full((len(ids), by), -1)], dim=1),
        spans=torch.cat([batch.spans, batch.spans.new_zeros(len(ids), by, 2)], dim=1),
    )


def one_sentence_an_image(batch: Batch) -> Batch:
    """The same questions, each with an image of its own."""
    at = batch.image_index
    return replace(
        batch,
        images=batch.images[at],
        original_size=batch.original_size[at],
        to_network=batch.to_network[at],
        image_index=torch.arange(len(at)),
    )


def sentence(batch: Batch, row: int) -> Batch:
    """One sentence and its image alone, without the padding of the others."""
    alone = one_sentence_an_image(batch)
    length = int(batch.word_mask[row].sum())
    changes = {f.name: getattr(alone, f.name) for f in fields(alone)}
    cut = {name: value[row : row + 1] for name, value in changes.items() if isinstance(value, (Tensor, list))}
    words = {name: cut[name][:, :length] for name in ("token_ids", "word_mask", "word_index", "spans")}
    return replace(alone, **{**cut, **words, "image_index": torch.tensor([0])})


def with_another_word(batch: Batch, vocabulary: int = 12) -> Batch:
    """The first word of each sentence is another one."""
    ids = batch.token_ids.clone()
    ids[:, 0] = 3 + (ids[:, 0] - 2) % (vocabulary - 3)
    return replace(batch, token_ids=ids)
