"""Frames kept for a person to review, within limits: which to keep, and the store on disk. Imports vision.inference and common."""
