"""A `.tflite` file read and changed byte by byte, without TensorFlow: flatbuffer, layers, metadata. Imports common."""
