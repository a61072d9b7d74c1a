"""Helpers for converter and training: predictions and their accuracy, atomic folders, progress, tables. Imports device only."""
