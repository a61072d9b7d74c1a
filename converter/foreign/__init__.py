"""Keras classifiers that our training did not make, brought into the form that a bundle needs."""
