"""Reads and changes `.tflite` files without TensorFlow: flatbuffer, layers, metadata. Imports common."""
