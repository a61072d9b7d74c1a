"""What a bin learns of its site: how common each label is, drift from its training photos, taught heads. Imports vision, ledger and below."""
