"""Parquet files with pictures: the column that holds them, and its values one after another."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, NamedTuple

from darknet_py.data.lists import is_url
from darknet_py.errors import DarknetError, DataError, Reason, cause
from darknet_py.scale import remote

ROWS = 16                   # that are read together
BUFFER = 1 << 22            # bytes of a file that are read together
PATHS = ("path", "image_path", "file_name", "filename", "file", "filepath", "image", "uri", "url", "image_url")


class Column(NamedTuple):
    """binary: it holds the files of the pictures (binary, or a struct with a field bytes), not their paths."""

    name: str
    binary: bool


def require() -> None:
    """Raises:
        DarknetError: pyarrow is missing.
    """
    if find_spec("pyarrow") is None:
        raise DarknetError("Parquet needs the package pyarrow: pip install pyarrow")


@contextmanager
def open_table(name: str) -> Iterator[Any]:
    """A ``pyarrow.parquet.ParquetFile`` of a path or an URL.

    Raises:
        DataError: it is none, or cannot be read.
        DarknetError: pyarrow is missing.
    """
    require()
    import pyarrow
    from pyarrow import parquet
    try:
        source = remote.open_file(name) if is_url(name) else name
        with parquet.ParquetFile(source, buffer_size=BUFFER, pre_buffer=False) as table:
            yield table
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{name}: cannot read the Parquet file: {cause(error)}", Reason.CORRUPT) from None


def image_column(table: Any, name: str, column: str | None = None) -> Column:
    """The column with pictures.

    Args:
        table: see ``open_table``; name: of the file, for errors.
        column: its name; None: the first that holds bytes (alone, or in a struct as data sets of Hugging Face have it),
            else the first that is called as paths are (``PATHS``).

    Raises:
        DataError: there is no such column, or it holds neither bytes nor text.
    """
    from pyarrow import types
    schema = table.schema_arrow

    def is_bytes(kind: Any) -> bool:
        return types.is_binary(kind) or types.is_large_binary(kind) or (
            types.is_struct(kind) and kind.get_field_index("bytes") >= 0)

    def is_path(kind: Any) -> bool:
        return types.is_string(kind) or types.is_large_string(kind)

    names = [column] if column is not None else [field.name for field in schema if is_bytes(field.type)] + [
        one for one in PATHS if one in schema.names]
    for one in names:
        if one in schema.names and (is_bytes(kind := schema.field(one).type) or is_path(kind)):
            return Column(one, is_bytes(kind))
    wanted = "a column" if column is None else f"a column {column}"
    raise DataError(f"{name}: expected {wanted} of bytes or paths of pictures, found {', '.join(schema.names)}"
                    + ("; -column NAME names it" if column is None else ""), Reason.MISSING_KEY)


def values_of(table: Any, column: str, first: int = 0) -> Iterator[Any]:
    """The values of a column from row ``first`` on, a few rows at a time."""
    group, before = 0, 0
    while group < table.num_row_groups - 1 and before + (rows := table.metadata.row_group(group).num_rows) <= first:
        group, before = group + 1, before + rows
    for batch in table.iter_batches(ROWS, row_groups=range(group, table.num_row_groups), columns=[column]):
        skipped = min(max(0, first - before), batch.num_rows)
        before += batch.num_rows
        yield from batch.column(0).slice(skipped).to_pylist()
