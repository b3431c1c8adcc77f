"""Query parameters as an operation declares them: what is not declared, given twice or malformed is refused.

A parameter that is ignored answers another question than was asked; among patients that is dangerous.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from django.http import QueryDict

from radiology.errors import InvalidValue

LONGEST = 1024
# What jQuery and others add to keep an answer from being cached.
IGNORED = {"_"}


@dataclass(frozen=True)
class Parameter:
    """One parameter. An empty value is the same as none. `pattern` is what the whole value must match."""

    name: str
    description: str
    example: str = ""
    pattern: str = ""
    choices: Sequence[str] = ()
    default: str = ""
    whole_number: bool = False

    def read(self, text: str) -> str:
        """The value as given. Raises InvalidValue."""
        if "\x00" in text or len(text) > LONGEST:
            raise InvalidValue(f"{self.name} is longer than {LONGEST} characters or holds a NUL.", field=self.name)
        value = text.strip()
        if not value:
            return self.default
        if self.choices and value not in self.choices:
            raise InvalidValue(f"{self.name} must be one of {', '.join(self.choices)}.", field=self.name)
        if self.whole_number and re.fullmatch(r"\d{1,20}", value, re.ASCII) is None:
            raise InvalidValue(f"{self.name} must be a whole number such as {self.example}.", field=self.name)
        if self.pattern and re.fullmatch(self.pattern, value, re.ASCII) is None:
            raise InvalidValue(f"{self.name} is malformed; an example: {self.example}", field=self.name)
        return value


def read_parameters(query: QueryDict, declared: Sequence[Parameter]) -> dict[str, str]:
    """The value of each declared parameter. Raises InvalidValue, naming the parameter, for what does not fit."""
    known = {each.name: each for each in declared}
    for name, values in query.lists():
        if name in IGNORED:
            continue
        if name not in known:
            raise InvalidValue(_unknown(name, list(known)), field=_printable(name))
        if len(values) > 1:
            raise InvalidValue(f"{name} is given more than once: give it once.", field=name)
    return {name: each.read(query.get(name) or "") for name, each in known.items()}


def _unknown(name: str, known: list[str]) -> str:
    by_case = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower()[:64], by_case, n=1)
    if near:
        return f"There is no parameter {_printable(name)} here; did you mean {by_case[near[0]]}?"
    listed = f"there are: {', '.join(known)}." if known else "this address takes none."
    return f"There is no parameter {_printable(name)} here; {listed}"


def _printable(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "?", name)[:64]
