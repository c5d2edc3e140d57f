"""What a person reads in the terminal while steps run: the message, nothing else.

Dagster's own event log keeps everything; this is the console of `distracted run` only.
"""

import logging
import sys

import dagster as dg


@dg.logger(config_schema={}, description="Prints what a step says, without Dagster's bookkeeping.")
def plain_console(_context: dg.InitLoggerContext) -> logging.Logger:
    """Return a logger that prints `  message` for INFO and above on standard output."""
    logger = logging.getLogger("distracted.console")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(_Plain())
        handler.addFilter(_said_by_a_step)
        logger.addHandler(handler)
    return logger


def _said_by_a_step(record: logging.LogRecord) -> bool:
    """Tell whether a line is no event of Dagster's: that a step or run failed is said by `operations.run`, with why."""
    return getattr(record, "dagster_meta", {}).get("dagster_event") is None


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # Dagster's record carries the step's own words beside the decorated message.
        words = getattr(record, "dagster_meta", {}).get("orig_message") or record.getMessage()
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        return f"    {prefix}{words}"
