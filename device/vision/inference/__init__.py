"""From pixels to calibrated probabilities: bundle, runtime, preprocessing, classifier, novelty. Imports common."""
