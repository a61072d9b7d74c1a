"""Helpers that know nothing of bins: files, errors, command lines, processes, clocks. Imports no other room."""
