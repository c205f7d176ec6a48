"""Losses and auxiliary tasks."""
