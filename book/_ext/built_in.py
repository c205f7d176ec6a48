"""Says in the library's reference which chapter builds a class from scratch."""

from __future__ import annotations

from sphinx.application import Sphinx

#: Classes of the library, and the chapter that builds each by hand and asserts that both give the same numbers.
BUILT_IN = {
    "ris_lib.encoders.swin.SwinImage": "03_image_encoders",
    "ris_lib.encoders.tiny_image.PixelAttention": "03_image_encoders",
    "ris_lib.encoders.tiny_text.TinyText": "04_text_encoders",
    "ris_lib.attention.MultiHeadAttention": "04_text_encoders",
    "ris_lib.fusion.late.LateFusion": "05_first_model",
    "ris_lib.fusion.pwam.PWAM": "06_words_meet_pixels",
    "ris_lib.fusion.wpa.WPA": "06_words_meet_pixels",
    "ris_lib.fusion.cam.CAM": "12_mask_grounding",
    "ris_lib.fusion.vlba.VLBA": "07_both_ways",
    "ris_lib.decoders.detail_merge.DetailMerge": "05_first_model",
    "ris_lib.heads.fixed_kernel.FixedKernel": "05_first_model",
    "ris_lib.heads.centre_embedding.CentreEmbedding": "08_centre_embedding",
    "ris_lib.heads.centre_generator.CentreGenerator": "08_centre_embedding",
    "ris_lib.heads.mask_generator.MaskGenerator": "10_proposals",
    "ris_lib.heads.sentence_mask_alignment.SentenceMaskAlignment": "10_proposals",
    "ris_lib.heads.sentence_kernel.SentenceKernel": "11_query_kernels",
    "ris_lib.heads.query_generator.QueryGenerator": "11_query_kernels",
    "ris_lib.heads.vision_language_aligner.VisionLanguageAligner": "11_query_kernels",
    "ris_lib.heads.masked_query.MaskedQuery": "12_mask_grounding",
    "ris_lib.objectives.segmentation.Segmentation": "05_first_model",
    "ris_lib.objectives.instance_contrast.InstanceContrast": "09_contrastive_losses",
    "ris_lib.objectives.pixel_contrast.PixelContrast": "09_contrastive_losses",
    "ris_lib.objectives.cross_modal_alignment.CrossModalAlignment": "09_contrastive_losses",
    "ris_lib.objectives.mask_grounding.MaskGrounding": "12_mask_grounding",
    "ris_lib.metrics.accumulator.Accumulator": "01_task_and_scores",
    "ris_lib.encoders.staged.StagedEncoder": "13_systems_assembled",
    "ris_lib.models.segmenter.ReferringSegmenter": "13_systems_assembled",
    "ris_lib.metrics.paired.Gain": "15_error_analysis",
    "ris_lib.engine.predictor.Predictor": "18_your_own_image",
}


def point_to_chapter(
    app: Sphinx,
    what: str,
    name: str,
    obj: object,
    options: object,
    lines: list[str],
) -> None:
    """Add the chapter to the text of a class; Sphinx calls this for each docstring."""
    if name in BUILT_IN:
        lines += ["", f"Built from scratch in :doc:`/chapters/{BUILT_IN[name]}`.", ""]


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx find the hook."""
    app.connect("autodoc-process-docstring", point_to_chapter)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
