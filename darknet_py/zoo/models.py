"""Networks by their names in the zoo: their cfgs, and official weights, found here or fetched into the cache."""
from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock

from darknet_py.cfg.language import Cfg, parse_cfg, read_cfg
from darknet_py.cfg.metadata import is_model, stored_cfg
from darknet_py.errors import (
    CfgError,
    DataError,
    DownloadError,
    DownloadWarning,
    Reason,
    WeightsError,
    cause,
    locate,
    suggestion,
)
from darknet_py.utils.cache import cache_folder
from darknet_py.zoo.architectures import ARCHITECTURES, cfg_text
from darknet_py.zoo.manifest import OFFICIAL, Published

FOLDERS = ("", "weights")               # where weights lie, before the cache
MIRRORS = "DARKNET_PY_MIRROR"           # URLs of folders that have the official files


def is_name(cfg: object) -> bool:
    """Whether this names a network of the zoo. A file of that name is a file."""
    return isinstance(cfg, (str, os.PathLike)) and os.fspath(cfg) in ARCHITECTURES and not os.path.isfile(cfg)


def stands_alone(cfg: object) -> bool:
    """Whether this names a whole network, which needs no weights: of the zoo, or an exported model that has its cfg."""
    return is_name(cfg) or (isinstance(cfg, (str, os.PathLike)) and is_model(cfg))


def open_cfg(cfg: str | os.PathLike | Cfg, *, strict: bool = False) -> Cfg:
    """The cfg of a file, of a network of the zoo, whose ``path`` is its name, or in an exported model.

    Args:
        cfg: a path, of a .cfg file or a model; a name such as "yolov4"; or a parsed cfg, which is handed back as it is.
        strict: see ``read_cfg``.

    Raises:
        TypeError: it is none of these.
        CfgError: see ``read_cfg``; a file that is missing and no name.
        DataError: see ``stored_cfg``.
    """
    if isinstance(cfg, Cfg):
        return cfg
    if not isinstance(cfg, (str, os.PathLike)):
        raise TypeError("expected a network (the path of a cfg or of an exported model, a name of the zoo such as "
                        f"yolov4, or a Cfg), found {type(cfg).__name__}")
    if is_name(cfg):
        return parse_cfg(cfg_text(os.fspath(cfg)), cfg, strict=strict)
    if is_model(cfg):
        return stored_cfg(cfg, strict=strict)
    try:
        return read_cfg(cfg, strict=strict)
    except CfgError as error:
        if error.reason is not Reason.MISSING_FILE:
            raise
        raise CfgError(error.message + _hint(Path(cfg)), error.reason, error.path) from None


def _hint(path: Path) -> str:
    """How the zoo calls what was meant, behind the message that there is no such file."""
    if path.suffix == ".cfg":
        return f"; {path.stem} alone is the network of the zoo" if path.stem in ARCHITECTURES else ""
    if path.suffix or path.name != str(path):
        return ""
    return f", and no network of the zoo{suggestion(path.name, ARCHITECTURES)}; darknet-py zoo lists them"


def weights_folder() -> Path | None:
    """The cache of official weights; None: there is none, see ``cache_folder``."""
    folder = cache_folder()
    return None if folder is None else folder / "weights"


def places(file: str) -> Iterator[Path]:
    """The paths at which a weights file is looked for, in order."""
    yield from (Path(folder, file) for folder in FOLDERS)
    if (cache := weights_folder()) is not None:
        yield cache / file


def urls_of(file: str, facts: Published, mirrors: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The URLs of a file: in ``mirrors``, in those of DARKNET_PY_MIRROR, then its own."""
    folders = (*mirrors, *os.environ.get(MIRRORS, "").split())
    return (*(f"{folder.rstrip('/')}/{file}" for folder in folders), *facts.urls)


def find_weights(name: str) -> Path | None:
    """The weights of a network of the zoo: NAME.weights in the working directory, in weights/ or in the cache; None
    where they are in none. A file in the cache counts if its size is right."""
    file = f"{name}.weights"
    facts, cache = OFFICIAL.get(file), weights_folder()
    for path in places(file):
        if path.is_file() and (facts is None or path.parent != cache or path.stat().st_size == facts.size):
            return path
    return None


def weights_for(cfg: Cfg) -> Path:
    """The weights for a cfg that is used without a file of them: the model that it is in, else ``official_weights``.

    Raises:
        WeightsError: it is no network of the zoo.
    """
    if cfg.path is not None and cfg.stored is not None:
        return cfg.path
    if cfg.path is None or not is_name(cfg.path):
        raise WeightsError(f"{locate(cfg.path, None)}: needs weights; only a network of the zoo, by its name, can do "
                           "without", Reason.MISSING_KEY)
    return official_weights(str(cfg.path))


def official_weights(name: str, *, begin: Callable[[str], None] | None = None,
                     progress: Callable[[int, int], None] | None = None) -> Path:
    """The weights of a network of the zoo, see ``find_weights``; the official ones are fetched into the cache once.
    Other processes that want them wait meanwhile.

    Args:
        name: such as "yolov4".
        begin: called with a line that says what is fetched, before that begins; None: it is a DownloadWarning.
        progress: called with the bytes that are there, and all.

    Raises:
        DataError: the network has no official weights.
        DownloadError: they cannot be fetched; it says what was tried and what to do.
    """
    if (found := find_weights(name)) is not None:
        return found
    file = f"{name}.weights"
    if file not in OFFICIAL:
        known = ", ".join(one.removesuffix(".weights") for one in OFFICIAL if one.endswith(".weights"))
        raise DataError(f"there are no official weights of {name}, but of {known}; its own would be found as "
                        f"{' or '.join(map(str, places(file)))}", Reason.UNKNOWN_NAME)
    facts, folder = OFFICIAL[file], weights_folder()
    if folder is None:
        raise DownloadError(f"{file}: DARKNET_PY_CACHE is empty, so there is no folder to keep it in; darknet-py "
                            f"download {name} puts it here")
    path, urls = folder / file, urls_of(file, facts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if (found := find_weights(name)) is None:
                line = f"{file}: fetching {facts.size / 1e6:.0f} MB from {urls[0]} into {folder}{facts.terms}"
                if begin is None:
                    warnings.warn(DownloadWarning(line), stacklevel=2)
                else:
                    begin(line)
                from darknet_py.zoo.download import download
                download(urls[0], path, mirrors=urls[1:], size=facts.size, sha256=facts.sha256, progress=progress)
    except (OSError, NotImplementedError) as error:
        raise DownloadError(f"{path}: cannot be written: {cause(error)}; DARKNET_PY_CACHE=FOLDER names another folder"
                            ) from None
    except DownloadError as error:
        raise DownloadError(f"{error}; or {MIRRORS}=URL names a folder on the web that has it, or darknet-py download "
                            f"{name} -mirror URL puts it here") from None
    return path
