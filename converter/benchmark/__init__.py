"""Measures time, memory, size and accuracy of a network on this computer, by format and runtime. Imports bundle and what it imports."""
