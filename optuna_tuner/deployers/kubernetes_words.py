"""Names and numbers as Kubernetes takes them, each with what it would be right to write."""

from __future__ import annotations

import json
import re
from typing import Annotated

from pydantic import AfterValidator

from optuna_tuner.deployers.container_words import checked, inside_problem, path_problem

LONGEST = 63  # characters of a name that is a label of DNS, and of a label's value
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_QUANTITY = re.compile(r"(\d{1,15}(?:\.\d{1,3})?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")
_POWERS = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15} | {
    f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTP", 1)
}
_OURS = "optuna-tuner/"


def name_problem(text: str, what: str) -> str | None:
    """Why nothing can be called so that becomes a host name or a label; None for a good one."""
    if len(text) > LONGEST:
        return f"{what} has {len(text)} characters, and Kubernetes takes {LONGEST} at most: {json.dumps(text[:80])}"
    if not re.fullmatch(_LABEL, text):
        wanted = "small letters, digits and dashes, with no dash at either end"
        return f"{what} must be of {wanted}; it is {json.dumps(text)}"
    return None


def value_problem(text: str) -> str | None:
    """Why this is no value of a label; None for one."""
    if text and not re.fullmatch(_WORD, text):
        wanted = f"at most {LONGEST} letters, digits and -_., with a letter or digit at both ends"
        return f"a label's value must be of {wanted}; it is {json.dumps(text[:80])}"
    return None


def quantity(text: str) -> float:
    """Bytes, cores or pieces. Raises ValueError."""
    found = _QUANTITY.fullmatch(text)
    if not found:
        wanted = "a quantity such as 40Gi, 16 or 500m, its unit right behind the number"
        raise ValueError(f"must be {wanted}; it is {json.dumps(text[:60])}")
    return float(found[1]) * _POWERS[found[2] or ""]


def _named(text: str) -> str:
    return checked(name_problem(text, "the name"), text)


def _subdomain(text: str) -> str:
    good = len(text) <= 253 and re.fullmatch(_SUBDOMAIN, text)  # noqa: PLR2004  of DNS
    return checked(
        None if good else f"must be a name of small letters, digits, - and .; it is {json.dumps(text)}", text
    )


def _key(text: str) -> str:
    prefix, slash, word = text.rpartition("/")
    if not re.fullmatch(_WORD, word) or (slash and not re.fullmatch(_SUBDOMAIN, prefix)):
        raise ValueError(f"must be a label's key such as team or example.org/team; it is {json.dumps(text[:80])}")
    return text


def _own_key(text: str) -> str:
    problem = f"labels that begin with {_OURS} are the tuner's own" if text.startswith(_OURS) else None
    return checked(problem, _key(text))


def _value(text: str) -> str:
    return checked(value_problem(text), text)


def _quantity(text: str) -> str:
    quantity(text)
    return text


def _inside(text: str) -> str:
    return checked(inside_problem(text), text)


def _outside(text: str) -> str:
    return checked(path_problem(text), text)


Name = Annotated[str, AfterValidator(_named)]
Subdomain = Annotated[str, AfterValidator(_subdomain)]
LabelKey = Annotated[str, AfterValidator(_key)]
OwnLabelKey = Annotated[str, AfterValidator(_own_key)]
LabelValue = Annotated[str, AfterValidator(_value)]
Quantity = Annotated[str, AfterValidator(_quantity)]
Inside = Annotated[str, AfterValidator(_inside)]
Outside = Annotated[str, AfterValidator(_outside)]
