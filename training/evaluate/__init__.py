"""Honest figures of a model: measured, drawn, and put on a page that stands alone."""
