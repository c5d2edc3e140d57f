"""The commands that messages tell people to type, each written once."""

RUN = "distracted run"
"""Makes everything that is missing or out of date."""

READ_AGAIN = "distracted run --verify"
"""The same, after reading and hashing every image anew, whatever its size and time say."""

DOCTOR = "distracted doctor"


def materialize(asset: str, partition: str = "") -> str:
    """Return the command that makes an asset, or one partition of it.

    Args:
        asset: Its name, e.g. `trained_model`.
        partition: Its key, e.g. `original|top_only`; empty for an asset without partitions.
    """
    chosen = f' --partition "{partition}"' if partition else ""
    return f"dagster asset materialize --select {asset}{chosen}"


def materialize_fold(asset: str, variant: str, fold: str) -> str:
    """Return the command that makes one variant's fold of `trained_model` or `predictions`."""
    return materialize(asset, f"{fold}|{variant}")
