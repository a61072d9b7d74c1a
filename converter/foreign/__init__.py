"""Converts Keras classifiers of other programs to the form that a bundle needs. Imports bundle, quantization, data, common."""
