"""Resuming of a run: reads the files in its backup folder, and decides where training starts."""
from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from darknet_py.errors import DataError, Reason, WeightsError, cause
from darknet_py.model.tensors import header_of
from darknet_py.training import checkpoint
from darknet_py.training.identity import Identity
from darknet_py.training.state_facts import check
from darknet_py.utils.files import temporary_folder

FILES = r"_(?:report|(?:(?:last|best|final|ema|\d+)\.weights|last\.state|(?:log|attention)\.\w+))"
NUMBERED = re.compile(r".*_\d+\.weights")


@dataclass(frozen=True)
class RunRequest:
    """The run that is requested.

    name, folder: of the run's files; the folder is None where no files are written.
    run: its identity, with the initial weights.
    last: the iteration that ends the run.
    """

    name: str
    folder: Path | None
    run: Identity
    weights: Path | None = None
    clear: bool = False
    last: int = 0
    seed: int | None = None
    patience: int | None = None


class State(NamedTuple):
    """A state file, the weights that it belongs to, and its facts."""

    path: Path
    weights: Path
    facts: dict[str, Any]


@dataclass(frozen=True)
class Checkpoints:
    """The files of earlier runs.

    weights: the run's .weights files in the folder, and the images that each has seen.
    others: the other files of the run.
    state: that of NAME_last.weights.
    given: that of the weights that were asked for.
    seen: images that the weights asked for have seen.
    gone: files of the states that are no longer there.
    aside: the folder to which files are moved that would be overwritten.
    """

    weights: dict[Path, int] = field(default_factory=dict)
    others: list[Path] = field(default_factory=list)
    state: State | None = None
    given: State | None = None
    seen: int = 0
    gone: frozenset[str] = frozenset()
    aside: Path = Path("previous-1")


@dataclass(frozen=True)
class Decision:
    """The start of the run.

    weights: to load, and ``state`` their state; None for random initialisation.
    todo: "train"; "finish" where only NAME_final.weights is missing; "nothing" for a finished run.
    notes: for the user.
    moved: files to move, since the run would overwrite them, and ``copied`` those to copy, since it needs them too.
    aside: the folder to which they go.
    first: the initial weights of the run.
    """

    weights: Path | None = None
    state: State | None = None
    todo: str = "train"
    notes: tuple[str, ...] = ()
    moved: tuple[Path, ...] = ()
    copied: tuple[Path, ...] = ()
    aside: Path = Path("previous-1")
    first: list[Any] | None = None


def start(request: RunRequest) -> Decision:
    """Read the checkpoints, and decide where to start.

    Raises:
        DataError, WeightsError: see ``decide``; or a file that cannot be read.
    """
    try:
        return decide(request, find_checkpoints(request))
    except OSError as error:
        raise DataError(f"{error.filename}: cannot read it: {cause(error)}", Reason.reading(error)) from None


def find_checkpoints(request: RunRequest) -> Checkpoints:
    """Find the files in the backup folder, and the state of the requested weights."""
    weights, others, state, given = {}, [], None, None
    folder = request.folder
    if folder is not None and folder.is_dir():
        checkpoint.settle(folder / f"{request.name}_last.weights")
        own = re.compile(re.escape(request.name) + FILES)
        for path in sorted(path for path in folder.iterdir() if own.fullmatch(path.name) and path.exists()):
            if path.suffix == ".weights":
                weights[path] = _seen(path)
            else:
                others.append(path)
        state = None if request.clear else _state(folder / f"{request.name}_last.weights")
    if request.weights is not None and request.weights.is_file() and not request.clear:
        given = _state(request.weights)
        if given is None and state is not None and state.weights.stat().st_size == request.weights.stat().st_size and \
                checkpoint.checksum(request.weights) == state.facts["weights"]:
            given = state                       # NAME_final.weights of a finished run, or a copy of NAME_last.weights
    gone = frozenset(path for known in (state, given) if known is not None
                     for path in Identity.known(known.facts).data if path is not None and not os.path.exists(path))
    place = Path("backup") if folder is None else folder
    aside = next(path for number in count(1) if not (path := place / f"previous-{number}").exists())
    seen = 0 if request.weights is None else _seen(request.weights)
    return Checkpoints(weights, others, state, given, seen, gone, aside)


def decide(request: RunRequest, files: Checkpoints) -> Decision:
    """Decide where to start, so that files of another run are never overwritten.

    - ``clear``: at iteration 0 of the requested run. All existing files are moved.
    - The same command, or weights with a state: that run resumes, unless it is finished or cannot.
    - Other initial weights than those of the existing run: refused.
    - Weights without a state, as C writes them, or with that of another network from elsewhere, or an older file of the
      run: at the iteration that follows from the number of images they have seen. Files that training would overwrite
      are moved.

    Raises:
        DataError, WeightsError: the existing run cannot resume like this, and what to do.
    """
    own = {_real(path): path for path in files.weights}
    given = None if request.weights is None else own.get(_real(request.weights))
    if request.clear:
        everything = (*files.weights, *files.others)
        return Decision(request.weights, moved=tuple(path for path in everything if path != given),
                        copied=() if given is None else (given,), aside=files.aside, first=request.run.first)
    if files.state is not None and (_same_first_weights(request, files) or _is(files.given, files.state)):
        return _resumed(request, files, files.state)
    if files.state is not None and given is None:
        began, begins = Identity.known(files.state.facts).first, request.run.first
        other = "other " if began is not None and begins is not None and began[:2] == begins[:2] else ""
        raise DataError(f"{files.state.weights}: is of a run that began with {_named(began)}, this one begins with "
                        f"{other}{_named(begins)}; {_ways(files, files.state, 'give the same weights to go on')}",
                        Reason.INCOMPATIBLE)
    moved = tuple(path for path in files.weights if path != given and not (
        given is not None and NUMBERED.fullmatch(path.name) and files.weights[path] <= files.seen))
    moved += tuple(path for path in files.others if path.suffix != ".jsonl") if moved else ()
    logs = tuple(path for path in files.others if path.suffix == ".jsonl")
    decision = Decision(request.weights, moved=moved + logs if moved and given is None else moved,
                        copied=logs if moved and given is not None else (), aside=files.aside, first=request.run.first)
    if files.given is not None and not Identity.known(files.given.facts).other_layer(request.run):
        on = _resumed(request, files, files.given)
        return replace(decision, weights=on.weights, state=on.state, notes=on.notes)
    return decision


def _resumed(request: RunRequest, files: Checkpoints, state: State) -> Decision:
    """Resume from a state: note the changes, and whether any iterations are left."""
    known, iteration = Identity.known(state.facts), state.facts["iteration"]
    _check_data(request, files, state, known)
    _check_layers(request, files, state, known)
    first, final = known.first, state.weights.with_name(f"{request.name}_final.weights")
    impatient = request.patience is not None and state.facts.get("stopped") and state.facts["worse"] >= request.patience
    if (iteration >= request.last or impatient) and _is(state, files.state):
        if files.weights.get(final) == state.facts["seen"]:
            more = f"raise -patience {request.patience}" if impatient else "raise max_batches"
            note = (f"{final}: this run is finished, {iteration} of {request.last} iterations are done; {more} to "
                    f"train longer, or start afresh with -clear (what is there moves to {files.aside})")
            return Decision(state.weights, state, "nothing", (note,), first=first)
        note = f"all {iteration} iterations are done, but {final} was not written; it is now"
        return Decision(state.weights, state, "finish", (note,), first=first)
    notes = [f"going on from iteration {iteration} of {state.weights}; -clear starts afresh"]
    if edits := known.edits(request.run):
        notes.append(f"changed since: {', '.join(edits)}")
    if request.seed is not None and request.seed != state.facts.get("seed", request.seed):
        notes.append(f"-seed {request.seed} is passed over: the run keeps its own, {state.facts['seed']}")
    return Decision(state.weights, state, notes=tuple(notes), first=first)


def _check_data(request: RunRequest, files: Checkpoints, state: State, known: Identity) -> None:
    """Refuse other data than those of the run; a moved file is accepted."""
    for old, new, what in zip(known.data, request.run.data, ("", "train="), strict=True):
        moved = old in files.gone and new is not None and Path(str(old)).name == Path(new).name
        if old not in (None, new) and not moved:
            raise DataError(f"{state.weights}: is of a run on {what}{old}, this one is on {what}{new}; "
                            + _ways(files, state, "go on with the data it began with"), Reason.INCOMPATIBLE)


def _check_layers(request: RunRequest, files: Checkpoints, state: State, known: Identity) -> None:
    if other := known.other_layer(request.run):
        raise WeightsError(f"{state.weights}: is of another network than {request.name}.cfg: {other}; "
                           + _ways(files, state, "go on with the cfg it began with"), Reason.INCOMPATIBLE)


def _same_first_weights(request: RunRequest, files: Checkpoints) -> bool:
    """Whether the existing run began with the requested weights. Where it began with a file of its own, which C wrote,
    no weights count as the same too."""
    assert files.state is not None
    began, begins = Identity.known(files.state.facts).first, request.run.first
    if began is None:
        return begins is None
    if begins is None:
        return any(began[0] == path.name for path in files.weights)
    return began[0] == begins[0] and (not begins[1] or began[1:] == begins[1:len(began)])


def _is(state: State | None, other: State | None) -> bool:
    return state is not None and other is not None and _real(state.path) == _real(other.path)


def _named(first: Sequence[Any] | None) -> str:
    return "no weights" if first is None else f"{first[0]} ({first[1]} bytes)" if first[1] else str(first[0])


def _ways(files: Checkpoints, state: State, go_on: str) -> str:
    """The hint where a run cannot resume; with -clear weights from elsewhere are a start at iteration 0."""
    if not _is(state, files.state):
        return f"{go_on}, or begin with these weights at iteration 0 with -clear"
    return (f"{go_on}, start afresh with -clear (what is there moves to {files.aside}), or choose another folder with "
            "-backup")


def _real(path: Path) -> str:
    return os.path.realpath(path)


def _seen(path: Path) -> int:
    with suppress(WeightsError):
        return header_of(path).seen
    return 0


def _state(weights: Path) -> State | None:
    path = checkpoint.find(weights)
    return None if path is None else State(path, weights, check(path, checkpoint.facts(path)))


def set_aside(moved: Iterable[Path], copied: Iterable[Path], folder: Path) -> None:
    """Move files into a new folder, and copy those that must also stay. The folder has all of them before the first is
    removed where it was.

    Raises:
        DataError: it cannot be done.
    """
    try:
        with temporary_folder(folder.parent) as temporary:
            gathered = temporary / folder.name
            gathered.mkdir()
            for path in copied:
                shutil.copy2(path, gathered)
            for path in moved:
                if path.is_dir() and not path.is_symlink():
                    shutil.copytree(path, gathered / path.name, copy_function=_link)
                else:
                    _link(path, gathered / path.name)
            gathered.rename(folder)
        for path in moved:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    except OSError as error:
        raise DataError(f"{folder}: cannot move there what would be written over: {cause(error)}; nothing was "
                        "overwritten", Reason.UNWRITABLE) from None


def _link(path: str | os.PathLike, target: str | os.PathLike) -> None:
    """A hard link, or a copy where there can be none."""
    try:
        os.link(path, target)
    except (OSError, NotImplementedError):
        shutil.copy2(path, target)


def make_folder(path: Path) -> None:
    """The backup folder.

    Raises:
        DataError: it cannot be made, or nothing can be written there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path}: cannot make the folder for weights (backup=): {cause(error)}",
                        Reason.UNWRITABLE) from None
    if not os.access(path, os.W_OK):
        raise DataError(f"{path}: the folder for weights (backup=) is closed to us", Reason.UNWRITABLE)
