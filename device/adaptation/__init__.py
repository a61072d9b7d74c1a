"""What a bin learns of its site: label prior, drift of what it sees, taught few-shot heads. May import ledger, events, vision and common."""
