"""Search for a better recipe: a space of hyperparameters, a study of trials, and a report of what mattered."""
