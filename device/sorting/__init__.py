"""One item's journey, from an occupied tray to a recorded event; start with `sorter.py`. It may import every room below: adaptation, samples,
cameras, gates, ledger, policy, events, vision and common.
"""
