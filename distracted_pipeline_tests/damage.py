"""What happens to files on disks: what every derived file has to survive."""

from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from distracted_pipeline.checksums import CHECKSUM

DAMAGES: Final = ("deleted", "emptied", "zeroed", "truncated", "flipped")


def damage(path: Path, how: str) -> None:
    """Damage a file in one of the ways of `DAMAGES`."""
    data = bytearray(path.read_bytes())
    if how == "deleted":
        path.unlink()
        return
    if how == "emptied":
        data = bytearray()
    elif how == "zeroed":  # as a crash leaves what was not on the disk yet
        data = bytearray(len(data))
    elif how == "truncated":
        data = data[: len(data) // 2]
    else:
        data[len(data) // 2] ^= 0x04
    path.write_bytes(data)


def write_unsealed(path: Path, table: pa.Table) -> None:
    """Write a table as earlier versions did: without a seal, so that nothing tells what it was."""
    kept = {key: value for key, value in (table.schema.metadata or {}).items() if key != CHECKSUM.encode()}
    pq.write_table(table.replace_schema_metadata(kept), path)
