"""The explorer of the first page, ``{front}``: made by the library while the book is built, so it is always the present one."""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from ris_lib import Predictor, create_model
from ris_lib.data import load_dataset
from ris_lib.show import explorer

#: The explorer: a scene and its sentences, all of which this model finds; another sentence, another object.
MODEL, SCENE, SIZE = "eavl_tiny", ("val", 33), 400
SENTENCES = (
    "the small guy in a blue shirt",
    "the big figure in a blue shirt",
    "the lower left checkered tree",
)
ALT = "Six persons in pink and blue shirts, a blue and a pink checkered tree."


def front() -> str:
    """The explorer of the first page, as HTML: one scene, three sentences, the words and the queries of a shipped model."""
    split, number = SCENE
    small, large = (
        load_dataset("scenes", split, size=size, limit=number + 1)[number]
        for size in (96, SIZE)
    )
    known = {expression.sentence: expression for expression in large.expressions}
    said = {sentence: known[sentence] for sentence in SENTENCES}
    predict = Predictor(create_model(MODEL, pretrained=True), device="cpu")
    views = predict.explain(small.image, list(said))
    targets = [expression.mask() for expression in said.values()]
    shown = explorer(large.image, views, targets=targets, alt=ALT)
    return shown._repr_html_()


class Front(SphinxDirective):
    """The explorer, as HTML."""

    def run(self) -> list[nodes.Node]:
        """The explorer."""
        return [nodes.raw("", front(), format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directive."""
    app.add_directive("front", Front)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
