"""Quantizes a float network: calibration photos, value ranges, bias correction, choice among candidates. Imports data, tflite, edgetpu."""
