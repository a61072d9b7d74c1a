"""Helpers of converter and training that know nothing of bundles: processes, folders written whole, tables, progress. Imports the device alone."""
