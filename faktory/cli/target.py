"""TARGET: an app or a consumer builder, by `pkg.mod[:attr]` or `path/file.py[:attr]`, imported under its dotted name.

What the words mean is pure (`place_of_target`, `chosen`); `load` imports. A failure is a `TargetError`: its text is the
one line that says what to do, its `shown` the user's frames, which may be empty.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from ..app import App
from ..builder import ConsumerBuilder
from ..core.settings import nearest
from ..runtime.loading import load as import_module
from ..runtime.package import FOLDER
from .parsing import TargetError

_FACTORIES: Final = ("create_app", "make_app", "create_consumer", "make_consumer")
Target = App | ConsumerBuilder


@dataclass(frozen=True, slots=True)
class Place:
    """Where a target is: a module by its dotted name, perhaps in a file below `root`, and an attribute."""

    module: str
    attribute: str
    root: Path | None = None
    file: Path | None = None


def place_of_target(words: str, app_dir: Path) -> Place:
    """Read a TARGET. Raises `TargetError`."""
    name, _, attribute = words.partition(":")
    if name.endswith(".py") or os.sep in name:
        return _place_of_file(words, Path(name), attribute, app_dir)
    if not name or not all(part.isidentifier() for part in name.split(".")):
        raise TargetError(f"expected a TARGET like shop.jobs, shop.jobs:app or path/jobs.py, got {words!a:.80}")
    return Place(name, attribute)


def _place_of_file(words: str, given: Path, attribute: str, app_dir: Path) -> Place:
    file = Path(os.path.normpath(app_dir / given))
    if file.is_dir() and (file / "__init__.py").is_file():
        file /= "__init__.py"
    if not file.is_file():
        near = nearest(file.name, (path.name for path in file.parent.glob("*.py"))) if file.parent.is_dir() else ""
        raise TargetError(f"cannot import {words}: there is no file {file}{near}")
    root, parts = file.parent, [file.stem]
    while (root / "__init__.py").is_file():
        parts.insert(0, root.name)
        root = root.parent
    if parts[-1] == "__init__":
        parts.pop()
    if any("." in part for part in parts):
        raise TargetError(f"cannot import {words}: the name of a module has no dot; rename it")
    return Place(".".join(parts), attribute, root, file)


def load(words: str, app_dir: str | None = None) -> Target:
    """Import a target and return it. Raises `TargetError`; Ctrl-C passes."""
    folder = Path(os.path.realpath(app_dir or "."))
    if not folder.is_dir():
        raise TargetError(f"there is no folder {folder} for --app-dir")
    place = place_of_target(words, folder)
    for path in (folder, place.root):
        if path is not None and str(path) not in sys.path[:1]:
            sys.path.insert(0, str(path))
    module = _imported(words, place, folder)
    found = chosen(words, module, place.attribute)
    if isinstance(found, (App, ConsumerBuilder)):
        return found
    try:
        made = found()
    except Exception as exc:
        raise TargetError(f"{words}: {getattr(found, '__name__', 'the factory')}() failed", frames_of(exc)) from exc
    if not isinstance(made, (App, ConsumerBuilder)):
        raise TargetError(f"{words}: expected an App or a ConsumerBuilder, got {type(made).__name__}")
    return made


def _imported(words: str, place: Place, folder: Path) -> ModuleType:
    try:
        module = import_module(place.module)
    except ModuleNotFoundError as exc:
        if exc.name is not None and f"{place.module}.".startswith(f"{exc.name}.") and not _user_frames(exc):
            raise TargetError(_not_found(words, place.module, exc, folder)) from None
        raise _failed(words, exc) from exc
    except SystemExit as exc:
        at = _last_place(exc)
        raise TargetError(f"cannot import {words}: it called sys.exit({exc.code!r}){at} when it was imported") from None
    except Exception as exc:
        raise _failed(words, exc) from exc
    origin = getattr(module, "__file__", None)
    if place.file is not None and (origin is None or os.path.realpath(origin) != os.path.realpath(place.file)):
        raise TargetError(
            f"cannot import {words}: the name {place.module} is taken by {origin or 'a module of Python'}; rename the "
            "file"
        )
    return module


def _not_found(words: str, module: str, exc: ModuleNotFoundError, folder: Path) -> str:
    first = module.partition(".")[0]
    source = folder / "src"
    if exc.name == first:
        if (source / first).is_dir() or (source / f"{first}.py").is_file():
            hint = "; did you mean --app-dir src?"
        else:
            names = [path.stem for path in folder.glob("*.py")]
            names += [path.parent.name for path in folder.glob("*/__init__.py")]
            hint = nearest(first, names)
        looked = "the current folder" if folder == Path(os.path.realpath(".")) else str(folder)
        return f"cannot import {words}: {exc} (looked first in {looked}{hint})"
    parent = sys.modules.get((exc.name or "").rpartition(".")[0])
    folders = [Path(path) for path in getattr(parent, "__path__", [])]
    hint = nearest((exc.name or "").rpartition(".")[2], [path.stem for where in folders for path in where.glob("*.py")])
    return f"cannot import {words}: {exc}{hint}"


def _failed(words: str, exc: BaseException) -> TargetError:
    return TargetError(f"cannot import {words}: an error in it{_last_place(exc)}, shown above", frames_of(exc))


def frames_of(exc: BaseException) -> str:
    """Return an exception as Python would print it, with the user's frames alone."""
    told = traceback.TracebackException.from_exception(exc)
    found: traceback.TracebackException | None = told
    seen: set[int] = set()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        frames = [frame for frame in found.stack if _is_users(frame.filename)]
        found.stack = traceback.StackSummary.from_list(frames)
        found = found.__cause__ or found.__context__
    return "".join(told.format()).rstrip()


def _user_frames(exc: BaseException) -> list[traceback.FrameSummary]:
    return [frame for frame in traceback.extract_tb(exc.__traceback__) if _is_users(frame.filename)]


def _is_users(filename: str) -> bool:
    return not filename.startswith((FOLDER, "<frozen importlib")) and "/importlib/" not in filename


def _last_place(exc: BaseException) -> str:
    if isinstance(exc, SyntaxError) and exc.filename:
        return f" at {_short(exc.filename)}:{exc.lineno}"
    frames = _user_frames(exc)
    return f" at {_short(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""


def _short(filename: str) -> str:
    here = os.path.realpath(".") + os.sep
    return filename.removeprefix(here)


def chosen(words: str, module: ModuleType, attribute: str) -> Any:
    """Return the app, the builder, or the factory of one that a target means. Raises `TargetError`."""
    names = vars(module)
    if attribute:
        found: Any = module
        for part in attribute.split("."):
            found = getattr(found, part, None)
        if found is None:
            raise TargetError(f"{words}: {module.__name__} has no {attribute}{nearest(attribute, names)}")
        if not isinstance(found, (App, ConsumerBuilder)) and (isinstance(found, type) or not callable(found)):
            raise TargetError(f"{words}: expected an App, a ConsumerBuilder or a factory, got {type(found).__name__}")
        return found
    for kind in (App, ConsumerBuilder):
        several = _of_kind(names, kind)
        if len(several) > 1:
            raise TargetError(
                f"{words}: {module.__name__} has several: {', '.join(several)}; write one of them, like "
                f"{words}:{next(iter(several))}"
            )
        if several:
            return next(iter(several.values()))
    factories = {name: thing for name, thing in names.items() if _is_factory(name, thing, module.__name__)}
    if len(factories) == 1:
        return next(iter(factories.values()))
    if factories:
        raise TargetError(f"{words}: {module.__name__} has several: {', '.join(factories)}; write one of them")
    raise TargetError(
        f"{words}: there is no App in {module.__name__}, no ConsumerBuilder, and no create_app(); write "
        "app = faktory.App() there, or name what it is: MODULE:NAME"
    )


def _of_kind(names: Mapping[str, Any], kind: type[Target]) -> dict[str, Target]:
    """Return the objects of a kind, each once, without apps that another one has included."""
    found: dict[int, tuple[str, Target]] = {}
    for name, thing in names.items():
        if isinstance(thing, kind) and not (isinstance(thing, App) and thing._parent is not None):
            found.setdefault(id(thing), (name, thing))
    return dict(found.values())


def _is_factory(name: str, thing: Any, module: str) -> bool:
    code = getattr(thing, "__code__", None)
    if code is None or getattr(thing, "__module__", None) != module:
        return False
    if code.co_argcount - len(thing.__defaults__ or ()) > 0:
        return False
    returns = getattr(thing, "__annotations__", {}).get("return")
    told = returns if isinstance(returns, str) else getattr(returns, "__name__", "")
    return name in _FACTORIES or told.rpartition(".")[2] in ("App", "ConsumerBuilder")
