"""Start commands of the images, read from their Dockerfiles and compose.yaml; nothing here repeats them."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.support.readme import ROOT

_IGNORED = {"", "#", "FROM", "RUN", "WORKDIR", "USER", "EXPOSE", "HEALTHCHECK", "LABEL", "ARG", "STOPSIGNAL"}


@dataclass(frozen=True)
class Image:
    """Facts of a Dockerfile: names of the folders that it holds, its variables and its command."""

    folders: frozenset[str]
    environment: dict[str, str]
    command: list[str]

    @classmethod
    def read(cls, dockerfile: Path) -> "Image":
        """Read a Dockerfile; a kind of line that is new fails the test."""
        folders: set[str] = set()
        environment: dict[str, str] = {}
        command: list[str] = []
        for word, rest in _lines(dockerfile):
            if word == "COPY":
                source = rest.split()[0]
                folders |= {source} if (ROOT / source).is_dir() else set()
            elif word == "ENV":
                environment |= dict(part.split("=", 1) for part in shlex.split(rest))
            elif word == "CMD":
                command = json.loads(rest)
            else:
                assert word in _IGNORED, f"{dockerfile}: {word}"
        return cls(frozenset(folders), environment, command)


def _lines(dockerfile: Path) -> Iterator[tuple[str, str]]:
    for line in re.sub(r"\\\n", " ", dockerfile.read_text()).splitlines():
        word, _, rest = line.strip().partition(" ")
        yield "#" if word.startswith("#") else word.upper(), rest.strip()


def services() -> dict[str, dict[str, object]]:
    """Return the services of compose.yaml."""
    found: dict[str, dict[str, object]] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    return found


def image_of(service: str) -> tuple[str, Image]:
    """Return the Dockerfile of a service, and its image with the command of that service."""
    facts = services()[service]
    build = facts["build"]
    assert isinstance(build, dict) and "entrypoint" not in facts
    name = str(build["dockerfile"])
    image = Image.read(ROOT / name)
    command = facts.get("command", image.command)
    words = shlex.split(command) if isinstance(command, str) else command
    assert isinstance(words, list)
    # Compose writes a dollar as two.
    return name, Image(image.folders, image.environment, [word.replace("$$", "$") for word in words])


def lay_out(image: Image, folder: Path) -> None:
    """Make the working directory of an image: what it holds of the repository, and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in image.folders:
        link = folder / name
        if not link.exists():
            link.symlink_to(ROOT / name)
