"""Whether a bundle is what it says: its bytes, its model, and the answers of every runtime on this computer."""
