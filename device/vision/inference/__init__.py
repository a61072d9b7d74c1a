"""From pixels to calibrated probabilities: picture files, bundle, runtime, preprocessing, classifier, novelty. Imports common."""
