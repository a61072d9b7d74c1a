"""Every event on disk (SQLite): written by one thread, read by any process, salvaged when damaged. Imports events and common."""
