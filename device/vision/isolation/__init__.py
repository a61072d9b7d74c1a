"""Where the item is: the tray without it, the difference, the outline, the crop, and whether it lies still. Imports inference."""
