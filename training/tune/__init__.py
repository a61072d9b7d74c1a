"""Search for a better recipe: space, study, report; and compare recipes. Imports evaluate, fit, models and report."""
