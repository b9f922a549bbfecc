"""A table as the bytes of a file: CSV; Parquet and Excel by libraries that are an extra."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.results.tables import Cell, Table

HOW = "pip install 'optuna-tuner[tables]'"


def encoded(table: Table, suffix: str) -> bytes:
    """The file whose name ends so, one of FORMS. Raises EnvironmentFaultError where its library is missing."""
    return FORMS[suffix](table)


def _csv(table: Table) -> bytes:
    return table.csv().encode()


def _parquet(table: Table) -> bytes:
    try:
        import pyarrow as pa  # noqa: PLC0415  an extra
        from pyarrow import parquet  # noqa: PLC0415  likewise
    except ImportError as error:
        raise EnvironmentFaultError(f"pyarrow is missing: {HOW}") from error
    columns = {name: _alike([row[place] for row in table.rows]) for place, name in enumerate(table.columns)}
    file = io.BytesIO()
    parquet.write_table(pa.table(columns), file)
    return file.getvalue()


def _alike(cells: Sequence[Cell]) -> Sequence[Cell]:
    """A column of one type: a flag that takes `auto` or a number is text there."""
    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds <= {int, float}:
        return [None if cell is None else float(cell) for cell in cells] if float in kinds else cells
    return cells if len(kinds) == 1 else [None if cell is None else str(cell) for cell in cells]


def _excel(table: Table) -> bytes:
    try:
        import xlsxwriter  # noqa: PLC0415  an extra
    except ImportError as error:
        raise EnvironmentFaultError(f"xlsxwriter is missing: {HOW}") from error
    file = io.BytesIO()
    # What looks like a formula or a link is text all the same.
    with xlsxwriter.Workbook(file, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}) as book:
        sheet = book.add_worksheet("trials")
        sheet.freeze_panes(1, 0)
        for number, row in enumerate((table.columns, *table.rows)):
            sheet.write_row(number, 0, row)
        sheet.autofilter(0, 0, len(table.rows), len(table.columns) - 1)
        sheet.autofit()
    return file.getvalue()


FORMS: Mapping[str, Callable[[Table], bytes]] = MappingProxyType({".csv": _csv, ".parquet": _parquet, ".xlsx": _excel})
