"""Colours of all plots, chosen for colour-blind readers."""

RIGHT, WRONG = "#1b7837", "#b2182b"
BLUE, ORANGE, GREY = "#2166ac", "#d95f0e", "#666666"
INK = "#222222"
