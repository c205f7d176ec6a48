"""Our numbers against those of other implementations; ``python -m tests.golden.check FOLDER`` runs them all."""
