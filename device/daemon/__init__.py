"""The process that runs for months: opens the parts, runs the threads, reports, restarts, stops. Only commands import it."""
