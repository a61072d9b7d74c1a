"""Occupancy and isolation: whether something is on the tray, its mask against the empty tray, and its crops. Imports inference."""
