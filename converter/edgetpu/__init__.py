"""The Edge TPU: which operations of a model it will run, Coral's compiler for it, and compiled models in bundles."""
