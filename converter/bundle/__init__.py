"""The folder that a device reads: thresholds, statistics, model card, and `quantize` that writes it whole. Imports quantization, data, tflite."""
