"""From a trained Keras model to a verified INT8 bundle that the device accepts."""
