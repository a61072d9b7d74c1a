"""From label probabilities to a bin: the rule pack and the choice of least expected cost. Imports vision.inference and common."""
