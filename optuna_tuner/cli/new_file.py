"""Files that a command writes: none is overwritten unasked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

NEW_FILE = click.Path(dir_okay=False, allow_dash=True, path_type=Path)
STDOUT = Path("-")


def write(file: Path, text: str, *, force: bool) -> None:
    """Write a whole file, or to stdout for `-`. A file that is there is a usage error without `force`."""
    if file == STDOUT:
        click.echo(text, nl=False)
        return
    write_bytes(file, text.encode(), force=force)


def write_bytes(file: Path, content: bytes, *, force: bool) -> None:
    """The same of bytes; not to stdout."""
    try:
        with file.open("wb" if force else "xb") as opened:
            opened.write(content)
    except FileExistsError as error:
        raise click.UsageError(f"{file} is there already; --force overwrites it") from error
    except OSError as error:
        raise click.UsageError(f"{file} cannot be written: {error.strerror}") from error


def write_folder(folder: Path, files: Mapping[str, bytes], *, force: bool) -> None:
    """Write files by their names below a folder, which is made. One that is there is a usage error without `force`."""
    there = [name for name in files if (folder / name).exists()]
    if there and not force:
        raise click.UsageError(f"{folder / there[0]} is there already; --force overwrites it")
    try:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    except OSError as error:
        raise click.UsageError(f"{folder} cannot be written: {error.strerror}") from error
