"""The run that something was made from, named so that it is known again wherever it lies."""

import hashlib
from pathlib import Path


def origin(run: Path) -> dict[str, str]:
    """Its folder, and the SHA-256 of its network: empty where there is none, which whoever reads the network says."""
    file = run / "model.keras"
    return {"run": str(run), "model_sha256": hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""}
