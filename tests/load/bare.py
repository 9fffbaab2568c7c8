"""Bare Flask application: one route that takes JSON and gives JSON, and nothing else."""

from typing import Any

from flask import Flask, request

from api.services import Services
from shared.settings import Settings

app = Flask("bare")
#: The API's server asks them for its settings; no request does.
app.extensions["timbre"] = Services.from_settings(Settings.from_env())


@app.post("/echo")
def echo() -> dict[str, Any]:
    """Answer as a job POST does, without doing anything."""
    asked = request.get_json()
    return {"jobId": "0e2c1a4e-7a4f-4a67-9f43-0123456789ab", "status": "created", "asked": len(asked)}
