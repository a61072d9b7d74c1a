"""A head fitted on the device from a few photos a label, on the frozen embedding of the bundle. Imports inference."""
