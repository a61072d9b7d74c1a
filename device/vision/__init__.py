"""Computer vision: the rooms inference, isolation and fewshot, joined by `judge`. Imports common."""
