"""The virtual bin: tray, items, light, a camera with noise, gates that take time, and a broker. Only the demo and tests import it."""
