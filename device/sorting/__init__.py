"""One item at a time, from an occupied tray to a written event: control steps, faults, recovery. Imports every room that it moves or asks."""
