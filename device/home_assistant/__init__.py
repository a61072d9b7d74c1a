"""Makes a bin appear in Home Assistant by itself: MQTT discovery. Imports the link, topics and payloads, and what lies below them."""
