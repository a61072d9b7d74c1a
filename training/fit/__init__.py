"""From photos to a trained network: recipe, batches, augmentation, trainer, checkpoints, what a run starts from. Imports models and report."""
