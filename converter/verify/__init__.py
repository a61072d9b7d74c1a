"""Checks a bundle: its files, its model, and the answers of every runtime on this computer. Imports bundle and what it imports."""
