"""A float network to INT8: calibration photos, value ranges, bias correction, and the best of several candidates. Imports data, tflite, edgetpu."""
