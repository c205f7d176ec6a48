"""Signatures of the reference as a reader wants them: types without what is there for the command line.

``ris`` keeps the words of its help beside a type, ``Annotated[str, ...]``, which fills half a page. A default that a
dataclass makes anew for each object is written ``...``.
"""

from __future__ import annotations

import inspect
import typing
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.inspect import stringify_signature


def plain_types(
    app: Sphinx | None,
    what: str,
    name: str,
    member: Any,
    options: object,
    signature: str | None,
    result: str | None,
) -> tuple[str, str | None] | None:
    """The signature without annotations of types and in Python's words; None where it is that already. Sphinx calls this for each member."""
    if signature is None:
        return None
    plain = signature
    if "Annotated[" in signature:
        whole = inspect.signature(member)
        types = typing.get_type_hints(
            member.__init__ if inspect.isclass(member) else member
        )
        parameters = [
            part.replace(annotation=types.get(part.name, part.annotation))
            for part in whole.parameters.values()
        ]
        shown = whole.replace(parameters=parameters)
        plain = stringify_signature(shown, show_return_annotation=False)
    # as it stands, no parser takes a line with this default for Python
    plain = plain.replace("<factory>", "...")
    return None if plain == signature else (plain, result)


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx find the hook."""
    app.connect("autodoc-process-signature", plain_types)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
