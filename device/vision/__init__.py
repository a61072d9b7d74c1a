"""What the camera sees, judged: inference, isolation and fewshot are rooms below, `judge` joins them. Imports common."""
