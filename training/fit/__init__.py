"""Train a network on photos: recipe, augmentation, batches, stages, checkpoints, starts from earlier runs. Imports models and report."""
