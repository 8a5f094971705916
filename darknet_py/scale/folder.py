"""The folder of a run: settings, the list of pictures, claims on parts, and the files of those that are done."""
from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from darknet_py.errors import DataError, Reason, cause
from darknet_py.scale.inputs import Fingerprint, Inputs
from darknet_py.scale.rows import FORMATS, Row
from darknet_py.scale.snapshot import Snapshot
from darknet_py.utils.files import read_regular, sweep, write_file

STATE = "state"             # the folder with all but results
POLL = .2                   # seconds between two looks at a lock that another process has


class BatchFolder:
    """Where a run writes, and what it knows of itself.

    parts/part-000000.parquet ... hold results. state/ holds settings.json (written last of a beginning: without it the
    run begins anew), the list of pictures, network.json, 000000.json with the facts of each part, and the locks.

    Args:
        path: is made where it is missing.
        settings: what results depend on, and ``inputs``, ``format`` and ``part``; as JSON takes it.

    Attributes:
        snapshot: see there; after ``begin``.

    Raises:
        DataError: there is something else in the folder, or it cannot be written.
    """

    def __init__(self, path: str | os.PathLike, settings: Mapping[str, Any]):
        self.path, self.settings = Path(path), dict(settings)
        self.state, self.results = self.path / STATE, self.path / "parts"
        self.ending, self.encode = FORMATS[settings["format"]]
        self.snapshot: Snapshot
        try:
            if self.path.is_dir() and any(self.path.iterdir()) and not self.state.is_dir():
                raise DataError(f"{path}: expected a new or empty folder, or that of an earlier batch, found other "
                                "files", Reason.ALREADY_EXISTS)
            for folder in (self.state, self.results):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{path}: cannot make the folder: {cause(error)}", Reason.UNWRITABLE) from None

    def begin(self, inputs: Inputs, main: bool, listed: Callable[[int], None]) -> None:
        """List the pictures, or go on with the list that is there. Of several processes one does it.

        Args:
            main: look whether the inputs are still the same.
            listed: called with the number of pictures so far, and while another process lists them with 0; what it
                raises ends the wait.

        Raises:
            DataError: other settings, or inputs that changed; no pictures; a file that cannot be written.
        """
        with self._locked("begin", lambda: listed(0)):
            found = self._read(self.state / "settings.json")
            if found is None:
                fingerprint = Fingerprint()
                try:
                    self.snapshot = Snapshot.write(self.state, inputs.entries(fingerprint, self.state),
                                                   self.settings["part"], listed)
                except OSError as error:
                    raise DataError(f"{error.filename or self.path}: {cause(error)}", Reason.UNWRITABLE) from None
                if self.snapshot.count == 0:
                    self.snapshot.remove()
                    raise DataError(f"{', '.join(inputs.words)}: found no pictures", Reason.EMPTY)
                facts = {"pictures": self.snapshot.count, "files": fingerprint.files, "digest": str(fingerprint)}
                self._write(self.state / "settings.json", {"settings": self.settings, **facts})
                return
        if (changed := differences(found["settings"], self.settings)):
            raise DataError(f"{self.path}: holds results of other settings: {changed}; choose another -out, or remove "
                            "it", Reason.CONFLICT)
        if main and str(now := inputs.fingerprint(listed)) != found["digest"]:
            raise DataError(f"{self.path}: the inputs changed since its pictures were listed ({found['files']} files "
                            f"then, {now.files} now); choose another -out, or remove it", Reason.CONFLICT)
        self.snapshot = Snapshot(self.state, self.settings["part"], found["pictures"])

    def keep_network(self, facts: dict[str, Any]) -> None:
        """Write down what computes, or see whether it is the same as before.

        Raises:
            DataError: it is another.
        """
        with self._locked("network", lambda: None):
            before = self._read(self.state / "network.json")
            if before is None:
                self._write(self.state / "network.json", facts)
            elif (changed := differences(before, facts)):
                raise DataError(f"{self.path}: holds results of another network: {changed}; choose another -out, or "
                                "-backend and -names as before", Reason.CONFLICT)

    def network(self) -> dict[str, Any]:
        """What ``keep_network`` wrote."""
        found = self._read(self.state / "network.json")
        if found is None:
            raise DataError(f"{self.state / 'network.json'}: no such file", Reason.MISSING_FILE)
        return found

    def file(self, part: int) -> Path:
        """With the results of a part."""
        return self.results / f"part-{part:06d}{self.ending}"

    def facts(self, part: int) -> dict[str, Any] | None:
        """Of a part, as ``write`` has them; None: it was never done."""
        return self._read(self.state / f"{part:06d}.json")

    def finished(self, part: int) -> bool:
        return self.file(part).exists()

    def finished_pictures(self) -> int:
        """In all parts that are done."""
        with os.scandir(self.results) as found:
            parts = [int(one.name[5:-len(self.ending)]) for one in found
                     if one.name.startswith("part-") and one.name.endswith(self.ending)]
        return sum(map(self.snapshot.size, parts))

    def drop_damaged(self) -> None:
        """Remove the files of parts that are not as they were written, so that they are done again."""
        for part in range(self.snapshot.parts):
            with suppress(FileNotFoundError):
                size, facts = self.file(part).stat().st_size, self.facts(part)
                if facts is None or facts.get("bytes") != size:
                    self.file(part).unlink()

    def drop_failed(self) -> None:
        """Remove the files of parts that have pictures that could not be read, so that they are done again."""
        for part in range(self.snapshot.parts):
            if self.finished(part) and (facts := self.facts(part)) is not None and facts["errors"]:
                (self.path / "manifest.json").unlink(missing_ok=True)
                self.file(part).unlink()

    @contextmanager
    def claim(self, part: int) -> Iterator[bool]:
        """Whether this process may do a part: it is not done, and no other process is at it. The claim ends with the
        context, or with the process."""
        if self.finished(part):
            yield False
            return
        lock = FileLock(self.state / f"{part:06d}.lock", timeout=0)
        if not _locks(lock):
            yield False
            return
        try:
            yield not self.finished(part)
        finally:
            lock.release()

    def write(self, part: int, rows: Sequence[Row], names: Sequence[str], **facts: Any) -> None:
        """Write a part whole, after its facts: where its file is, it is done.

        Args:
            names: of all classes.
            facts: further ones.

        Raises:
            DataError: it cannot be written.
        """
        data = self.encode(rows, names)
        self._write(self.state / f"{part:06d}.json", {
            "pictures": len(rows), "errors": [[row.id, row.path, row.error] for row in rows if row.error is not None],
            "detections": sum(len(row.found) for row in rows if row.found is not None), "bytes": len(data), **facts})
        write_file(self.file(part), data)

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """For one process at a time; afterwards what locks and killed processes left is gone."""
        with self._locked("finish", lambda: None):
            yield
            for folder in (self.path, self.state, self.results):
                sweep(folder)
            for lock in self.state.glob("[0-9]*.lock"):
                with suppress(OSError):
                    lock.unlink()

    @contextmanager
    def _locked(self, name: str, waiting: Callable[[], None]) -> Iterator[None]:
        lock = FileLock(self.state / f"{name}.lock", timeout=0)
        while not _locks(lock):
            waiting()
            time.sleep(POLL)
        try:
            yield
        finally:
            lock.release()

    def _read(self, path: Path) -> Any:
        try:
            return json.loads(read_regular(path))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot read it: {cause(error)}", Reason.CORRUPT) from None

    def _write(self, path: Path, facts: Any) -> None:
        write_file(path, json.dumps(facts, indent=1).encode() + b"\n")


def _locks(lock: FileLock) -> bool:
    """Lock it, unless another process has it."""
    try:
        lock.acquire()
    except Timeout:
        return False
    except OSError as error:
        raise DataError(f"{lock.lock_file}: cannot lock it: {cause(error)}", Reason.UNWRITABLE) from None
    return True


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs, in words: ``thresh .25, now .5``."""
    before, now = (json.loads(json.dumps(one)) for one in (before, now))
    return "; ".join(f"{key} {_short(before.get(key))}, now {_short(now.get(key))}"
                     for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
