"""What a network is measured with: a finished run, its photos, the view that the device would have of them. Imports common."""
