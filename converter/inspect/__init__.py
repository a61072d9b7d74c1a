"""What is in a `.tflite` file, for people: operations, sizes, quantization, metadata. Imports tflite, edgetpu and common."""
