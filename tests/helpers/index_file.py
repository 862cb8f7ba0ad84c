"""An index of chips for tests that need only some of its columns."""

import pyarrow as pa
import pyarrow.parquet as pq

from terralucas.data.index_file import INDEX_SCHEMA


def write_index_of(path, columns):
    """Write chips.parquet with these columns; the others are empty."""
    size = len(columns["point_id"])
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(size, field.type)
        for field in INDEX_SCHEMA
    ]
    pq.write_table(pa.table(arrays, schema=INDEX_SCHEMA), path)
