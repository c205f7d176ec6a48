"""The model class, the recipes and the registry."""
