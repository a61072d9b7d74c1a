"""Makes a bundle, the folder that a device reads: model, thresholds, statistics, model card. Imports quantization, data, tflite."""
