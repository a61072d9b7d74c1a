"""From label probabilities to a bin: the rule pack, and the choice of least expected cost. May import vision.inference and common."""
