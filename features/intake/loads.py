"""Tables as the platform reads them: every room asks here for a table of a use case, never for its file."""

from __future__ import annotations

import duckdb

from configs.settings import Settings
from configs.use_case import UseCase
from features.sources import Source, source, table_path


def opened(connection: duckdb.DuckDBPyConnection, use_case: UseCase, table: str, settings: Settings) -> Source:
    """A table of the use case, ready to be queried over `connection`."""
    return source(connection, table_path(use_case, table, settings))
