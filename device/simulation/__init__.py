"""The virtual bin: tray, items, light, a camera with noise, gates that take time; a broker; a fleet that publishes. For the demo and for tests."""
