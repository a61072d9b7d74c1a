"""A classification head that the device fits to a few photos of each label, on the bundle's frozen embedding. Imports inference."""
