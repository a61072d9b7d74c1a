"""Kinds of waste as Blender models, a file for each material or shape. Imports appearance."""
