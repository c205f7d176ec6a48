"""From pixel features and words to a mask."""

from ris_lib.heads.centre_embedding import CentreEmbedding
from ris_lib.heads.fixed_kernel import FixedKernel
from ris_lib.heads.masked_query import MaskedQuery
from ris_lib.heads.sentence_kernel import SentenceKernel
from ris_lib.heads.sentence_mask_alignment import SentenceMaskAlignment
from ris_lib.heads.vision_language_aligner import VisionLanguageAligner

#: Heads by the name that a recipe uses.
HEADS = {
    "fixed_kernel": FixedKernel,
    "sentence_kernel": SentenceKernel,
    "centre_embedding": CentreEmbedding,
    "sentence_mask_alignment": SentenceMaskAlignment,
    "vision_language_aligner": VisionLanguageAligner,
    "masked_query": MaskedQuery,
}

__all__ = [
    "HEADS",
    "CentreEmbedding",
    "FixedKernel",
    "MaskedQuery",
    "SentenceKernel",
    "SentenceMaskAlignment",
    "VisionLanguageAligner",
]
