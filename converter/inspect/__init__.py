"""Describes a `.tflite` file: operations, sizes, quantization, metadata. Imports tflite, edgetpu, common."""
