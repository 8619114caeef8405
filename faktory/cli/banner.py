"""The facts that a worker begins with: a block on a terminal, a line each elsewhere. Pure."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..typed.signature import Signature
from .output import escaped

_SHOWN: Final = 12
"""Most jobs in the block: the rest is a number."""
_QUALIFIER: Final = re.compile(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])")
KEYS: Final = "^C ends gracefully, twice at once · TSTP quiet · TTIN stacks"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a worker is."""

    version: str
    python: str
    pid: int
    server: str
    queues: str
    pool: str
    jobs: tuple[str, ...]
    example: str = ""
    """What to type to see a job run; empty for nothing."""


def block(facts: Facts) -> str:
    """Return the facts for a terminal."""
    shown = " · ".join(facts.jobs[:_SHOWN])
    more = len(facts.jobs) - _SHOWN
    return "\n".join(
        [
            f"faktory-sdk {facts.version} · Python {facts.python} · pid {facts.pid}",
            f"  server  {facts.server}",
            f"  queues  {facts.queues}      pool  {facts.pool}",
            f"  jobs    {shown}{f' · {more} more: see --check' if more > 0 else ''}",
            *([f"  try     {facts.example}"] if facts.example else []),
            f"  {KEYS}",
        ]
    )


def lines(facts: Facts) -> list[str]:
    """Return the same facts for a log, a line each."""
    return [
        f"faktory-sdk {facts.version}, Python {facts.python}, pid {facts.pid}",
        f"server {facts.server}",
        f"queues {facts.queues}",
        f"pool {facts.pool}",
        f"jobs {', '.join(facts.jobs)}",
        *([f"try {facts.example}"] if facts.example else []),
    ]


def pool_text(pool: str, number: int, shutdown_timeout: float) -> str:
    """Return how jobs are run."""
    what = {"threads": "thread", "processes": "child process", "asyncio": "asyncio task", "trio": "trio task"}[pool]
    plural = what if number == 1 else f"{what}es" if what.endswith("s") else f"{what}s"
    return f"{number} {plural}, {shutdown_timeout:g} s to end"


def queues_text(queues: Sequence[str] | Mapping[str, float]) -> str:
    """Return the queues as a reader takes them in."""
    if isinstance(queues, Mapping):
        return ", ".join(f"{escaped(name)} {weight:g}" for name, weight in queues.items()) + " (weighted)"
    names = ", ".join(map(escaped, queues))
    return names if len(queues) == 1 else f"{names} (in this order)"


def signature_text(name: str, function: Any, signature: Signature) -> str:
    """Return a job as it is called: `add(a: int, b: int)`."""
    return escaped(f"{name}({', '.join(map(_parameter, _parameters(function, signature)))})")


def example_of(name: str, function: Any, signature: Signature) -> str | None:
    """Return words that push a job: `add 1 2`; None for one that takes more than simple values."""
    words = [name]
    for number, parameter in enumerate(_parameters(function, signature), 1):
        if parameter.default is not parameter.empty or parameter.kind is parameter.VAR_POSITIONAL:
            break
        examples = {"int": str(number), "str": f"text{number}", "float": f"{number}.5", "bool": "true"}
        annotation = parameter.annotation
        found = examples.get(annotation if isinstance(annotation, str) else getattr(annotation, "__name__", ""))
        if found is None:
            return None
        words.append(found)
    return None if signature.by_name or not name.isidentifier() else " ".join(words)


def _parameters(function: Any, signature: Signature) -> list[inspect.Parameter]:
    return [*inspect.signature(function).parameters.values()][1 if signature.takes_context else 0 :]


def _parameter(parameter: inspect.Parameter) -> str:
    star = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
    has_type, has_default = parameter.annotation is not parameter.empty, parameter.default is not parameter.empty
    annotation = parameter.annotation
    shown = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation) if has_type else ""
    told = f"{star}{parameter.name}" + (f": {_QUALIFIER.sub('', shown)}" if has_type else "")
    if not has_default:
        return told
    return f"{told} = {parameter.default!a:.40}" if has_type else f"{told}={parameter.default!a:.40}"
