"""User groups, whose keys are made at the command line."""

import os
import subprocess
import sys

from shared.settings import Settings


def make_group_key(settings: Settings, client: str, group: str) -> str:
    """Make a key for a user group, a space, of a client; both are made if they are new."""
    command = [sys.executable, "-m", "api.keys", "create", client, "--group", group]
    made = subprocess.run(command, env=os.environ | settings.environment(), check=True, capture_output=True, text=True)
    return made.stdout.strip()
