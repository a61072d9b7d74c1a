"""Judge models by places: measure them there, and train on all places but one. Imports prepare, evaluate, fit, models and report."""
