"""A virtual bin for a desk without one: a tray, items, light, a camera with noise, and gates that take time.

Only the demo and tests import it.
"""
