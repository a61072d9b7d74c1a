"""Measure a model on labelled photos and write a report of it. Imports fit, models and report."""
