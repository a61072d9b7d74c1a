"""The record of every event on disk (SQLite): written once, read by everybody, salvaged when damaged. Imports events and common."""
