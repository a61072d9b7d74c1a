"""Frames stored for a person to label: which ones (`collector`), and the folder they are in (`store`). May import vision.inference and common."""
