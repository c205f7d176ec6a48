"""The runs behind the numbers of the book: what is trained, and the commands that train it.

Results are written to ``book/results``, one JSON a run; weights that ship go to ``ris_lib/weights``. Nothing here is
part of the installed package: a reader needs the results, not the means.
"""
