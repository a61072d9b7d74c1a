"""Photos and finished training runs: read, split, and shown as the device would see them. Imports common."""
