"""The network that draws the item's outline on the device: its views, its training."""
