"""The one model class: every system of the book is these four parts, put together differently.

::

    Batch -> encoder (with fusion blocks) -> decoder -> detail merge -> head -> MaskOutput
                                                                          └-> objectives (training only)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from ris_lib.contract import Batch, MaskOutput, ModelState
from ris_lib.encoders import StagedEncoder
from ris_lib.layers import at_least_float32
from ris_lib.models import pretrained
from ris_lib.models.checks import check_batch
from ris_lib.models.config import ModelConfig
from ris_lib.models.losses import normalise

if TYPE_CHECKING:
    from ris_lib.data.collate import Collator


class ReferringSegmenter(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="ris_lib",
    pipeline_tag="image-segmentation",
    tags=["referring-image-segmentation"],
):
    """An image and sentences go in, one mask logit map for each sentence comes out.

    Args:
        encoder: ``Batch`` -> ``Encoded``.
        decoder: ``Encoded`` -> ``PixelFeatures``.
        head: ``PixelFeatures, Encoded`` -> ``MaskOutput``.
        objectives: By name; each ``ModelState, Batch`` -> ``dict[str, LossTerm]``.
        weights: Weight of each loss in ``MaskOutput.loss``.
        merge: The stride-2 detail merge, or None.
        config: The configuration that this model was built from.

    Example:
        >>> import torch
        >>> from ris_lib.models import create_model
        >>> model = create_model("baseline_tiny").eval()
        >>> ids = torch.tensor([[4, 5, 0], [6, 7, 8]])
        >>> batch = Batch(
        ...     images=torch.zeros(1, 3, 64, 96), token_ids=ids, word_mask=ids > 0,
        ...     word_index=torch.where(ids > 0, torch.arange(3), -1), spans=torch.zeros(2, 3, 2, dtype=torch.long),
        ...     image_index=torch.tensor([0, 0]), original_size=torch.tensor([[64, 96]]),
        ...     to_network=torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]), sentences=["a b", "c d e"])
        >>> model(batch).logits.shape
        torch.Size([2, 1, 32, 48])
    """

    def __init__(
        self,
        encoder: StagedEncoder,
        decoder: nn.Module,
        head: nn.Module,
        objectives: Mapping[str, nn.Module],
        weights: Mapping[str, float],
        merge: nn.Module | None,
        config: ModelConfig,
    ):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.merge = merge
        self.head = head
        self.objectives = nn.ModuleDict(objectives)
        self.weights = dict(weights)
        self.config = config

    @cached_property
    def tokenizer(self) -> Any:
        """The tokeniser that turns sentences into this model's token ids."""
        from ris_lib.data.tokenizers import tokenizer_from_config

        return tokenizer_from_config(self.config.tokenizer)

    def collator(self, with_targets: bool = True) -> Collator:
        """What turns samples into batches for this model, with its tokeniser, size and normalisation.

        Args:
            with_targets: Add masks and targets; False for prediction.
        """
        from ris_lib.data.collate import Collator, Preprocess

        return Collator(self.tokenizer, Preprocess.from_dict(self.config.preprocess), with_targets=with_targets)

    def forward(self, batch: Batch, with_losses: bool = False, explain: bool = False) -> MaskOutput:
        """Segment.

        Losses are computed here, not outside, because a wrapped model (DDP, FSDP, compile) synchronises nothing but
        its forward pass.

        Args:
            batch: Images, each once, and the sentences asked of them; with masks where losses are wanted.
            with_losses: Fill ``losses`` and ``loss``. In distributed training all processes must agree on this.
            explain: Fill ``explanation``. The masks stay the same.

        Raises:
            ValueError: See ``check_batch``; or losses are wanted of a batch without masks.
        """
        state = self.compute(batch, explain)
        output = state.output
        if explain:
            output.explanation = _joined(state.encoded.explanation, state.features.explanation, output.explanation)
        if with_losses:
            terms = {}
            for objective in self.objectives.values():
                terms.update(objective(state, batch))
            output.losses = normalise(terms)
            first, *others = (self.weights[name] * value for name, value in output.losses.items())
            output.loss = sum(others, first)
        return output

    def compute(self, batch: Batch, explain: bool = False) -> ModelState:
        """Everything that the parts make of a batch, as the objectives read it.

        Args:
            batch: As for ``forward``.
            explain: Each part keeps its share of the explanation.

        Raises:
            ValueError: See ``check_batch``.
        """
        check_batch(batch, self.encoder.text_tower.vocabulary_size, max(self.encoder.strides))
        encoded = self.encoder(batch, explain=explain)
        features = self.decoder(encoded, explain=explain)
        if self.merge is not None:
            features = self.merge(features, encoded)
        output = self.head(features, encoded, explain=explain)
        return ModelState(encoded, features, output, self.encoder.encode_text, self.encoder)

    def upsample(self, logits: Tensor, size: Sequence[int]) -> Tensor:
        """Logits to probabilities at the network's input size, the way the configuration says.

        Args:
            logits: ``(S, 1, h, w)``.
            size: ``(H, W)`` of ``batch.images``.

        Returns:
            ``(S, H, W)`` float32 in [0, 1].
        """
        rule = self.config.upsample
        resized = {"size": tuple(size), "mode": rule["mode"], "align_corners": rule["align_corners"]}
        if rule["of"] == "logits":
            return F.interpolate(at_least_float32(logits), **resized)[:, 0].sigmoid()
        return F.interpolate(at_least_float32(logits).sigmoid(), **resized)[:, 0].clamp(0, 1)

    def save_pretrained(self, save_directory: str | Path, *, objectives: bool = False, **hub: Any) -> str | None:
        """Write ``config.json``, ``model.safetensors`` and a model card.

        Args:
            save_directory: Folder; made where it does not exist.
            objectives: Also write ``objectives.safetensors``: what only training needs, and some pictures.
            hub: As in ``huggingface_hub.PyTorchModelHubMixin.save_pretrained`` (``push_to_hub``, ``repo_id``, ...).
        """
        if objectives:
            pretrained.save_objectives(self, Path(save_directory))
        return super().save_pretrained(save_directory, **hub)

    def _save_pretrained(self, save_directory: Path) -> None:
        pretrained.save(self, save_directory)

    @classmethod
    def from_pretrained(cls, source: str | Path, **hub: Any) -> ReferringSegmenter:
        """Load a model, with its configuration, in evaluation mode.

        Args:
            source: A folder that ``save_pretrained`` wrote, or a repository of the Hugging Face hub.
            hub: As in ``huggingface_hub.snapshot_download`` (``revision``, ``cache_dir``, ``token``, ...).

        Raises:
            FileNotFoundError: The folder lacks ``config.json`` or ``model.safetensors``.
            ValueError: The configuration is not one of this library, or the weights belong to another model; the keys
                that are missing and left over are listed.
        """
        return pretrained.load(pretrained.find(source, **hub))


def _joined(*explanations: Mapping[str, Any]) -> dict[str, Any]:
    """The explanations of encoder, decoder and head; lists under one name are put behind one another."""
    joined: dict[str, Any] = {}
    for explanation in explanations:
        for name, value in explanation.items():
            joined[name] = joined[name] + value if name in joined and isinstance(value, list) else value
    return joined
