"""Words that every deployer with containers takes from a study, and what is wrong with them."""

from __future__ import annotations

import re

# The grammar of Docker's references, or the id of an image.
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d+)?/)?"
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?|sha256:[0-9a-f]{64}"
)
_KERNEL = ("/proc", "/sys", "/dev")


def image_problem(image: object, deployer: str) -> str | None:
    """Why this names no image; None for one that may be there."""
    if not image:
        return (
            f"the deployer {deployer} starts servers from an image: say which, such as image: vllm/vllm-openai:v0.33.0"
        )
    if not isinstance(image, str) or not _IMAGE.fullmatch(image):
        return f'"{image}" is no name of an image; it is written like registry:5000/name:tag'
    return None


def path_problem(text: str) -> str | None:
    """Why this is no absolute path without detours; None for one."""
    if not text.startswith("/"):
        return f'must be an absolute path, not "{text}"'
    if text == "/" or any(part in {"", ".", ".."} for part in text[1:].split("/")):
        return f'must be a path without "..", "." and empty parts, not "{text}"'
    if not text.isprintable():
        return "must not hold control characters"
    return None


def inside_problem(text: str) -> str | None:
    """Why nothing can be mounted at this path of a container; None for one that can be."""
    if any(text == root or text.startswith(f"{root}/") for root in _KERNEL):
        return f'"{text}" belongs to the container\'s kernel interfaces; choose another path'
    return path_problem(text)


def checked(problem: str | None, text: str) -> str:
    """The text, where it has no problem. Raises ValueError, as pydantic's validators do."""
    if problem:
        raise ValueError(problem)
    return text
