"""From folders of labelled photos to a trained, measured model."""
