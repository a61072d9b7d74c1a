"""The Edge TPU: predicts which operations it runs, calls Coral's compiler, and adds compiled models to bundles. Imports tflite, common."""
