"""Program `docker` for machines without a container engine: it executes the commands of containers here.

A folder of this machine is where a container would see /data. Services must be those of compose.yaml.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.images import services
from tests.support.readme import ROOT

#: Commands of compose that start and stop containers, of which there are none.
_ORDERS = {"build", "up", "down", "stop"}
_OPTIONS_WITH_VALUES = {"-v", "--volumes-from", "--entrypoint"}
_PLACES = "DOCKER_PLACES"


def shell(lines: str, folder: Path, places: Mapping[str, Path], **variables: str) -> None:
    """Execute lines that call `docker`, in the folder of a service.

    Parameters
    ----------
    places : folders by what containers see them at; of /data of the store, the name is `store`.
    """
    program = folder / "bin" / "docker"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tests.support.docker "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    given = {"PATH": path, "PYTHONPATH": str(ROOT), _PLACES: json.dumps({key: str(at) for key, at in places.items()})}
    command = ["bash", "-eu", "-o", "pipefail", "-c", lines]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | given | variables, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _split(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return options by name, and what follows them."""
    options = {}
    rest = list(words)
    while rest and rest[0].startswith("-"):
        name = rest.pop(0)
        options[name] = rest.pop(0) if name in _OPTIONS_WITH_VALUES else ""
    return options, rest


def _execute(command: list[str], places: Mapping[str, str]) -> int:
    """Execute the command of a container, whose folders are elsewhere."""
    for inside, outside in places.items():
        command = [word.replace(inside, outside) for word in command]
    return subprocess.run(command).returncode


def _compose(order: str, words: list[str], places: dict[str, str]) -> int:
    options, rest = _split(words)
    if order == "cp":
        service, _, source = rest[0].partition(":")
        assert service in services()
        shutil.copytree(source.replace("/data", places["/data"]), Path(rest[1]) / Path(source).name)
        return 0
    if order in ("exec", "run"):
        assert rest[0] in services()
        outside, _, inside = options.get("-v", "").removesuffix(":ro").rpartition(":")
        return _execute(rest[1:], places | ({inside: outside} if inside else {}))
    assert set(rest) <= services().keys()
    if order == "ps":
        print(f"container of {rest[0]}")
        return 0
    assert order in _ORDERS, order
    return 0


def main(words: list[str]) -> int:
    """Do what `docker` is asked for; returns its exit status."""
    places: dict[str, str] = json.loads(os.environ[_PLACES])
    store = places.pop("store", "")
    if words[0] == "compose":
        return _compose(words[1], words[2:], places)
    assert words[0] == "run"
    options, (image, *rest) = _split(words[1:])
    assert image == services()["store"]["image"]
    assert options["--volumes-from"] == "container of store"
    return _execute([options["--entrypoint"], *rest], {"/data": store})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
