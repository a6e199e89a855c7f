"""The log of --debug: records of loadgen and the AWS SDK on stderr, without secrets; no record of the SDK without it.

Debug records of the SDK that contain a whole request or response are dropped: no pattern finds customer data in them.
"""

import logging
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from loadgen.redaction import redact

_LOGGERS = ("loadgen", "botocore", "aiobotocore", "aiohttp", "asyncio")
# The SDK logs an error with its traceback and raises it as well; loadgen reports the raised one.
_SDK_LOGGERS = ("botocore", "aiobotocore", "boto3", "aioboto3", "s3transfer", "aiohttp", "urllib3")
# Loggers whose debug records contain decisions and no request or response.
_SAFE_DEBUG_LOGGERS = ("loadgen", "asyncio", "botocore.credentials", "botocore.configprovider", "botocore.regions")


class RedactingFilter(logging.Filter):
    """Drop records that can contain a request or response, and remove credentials from the others."""

    def __init__(self, secrets: Sequence[str]) -> None:
        super().__init__()
        self._secrets = secrets

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact a record in place; return False to drop it."""
        if record.levelno < logging.WARNING and not record.name.startswith(_SAFE_DEBUG_LOGGERS):
            return False
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text += "\n" + "".join(traceback.format_exception(*record.exc_info))
        record.msg, record.args = redact(text, self._secrets), ()
        record.exc_info = record.exc_text = None
        return True


@contextmanager
def debug_logging(stream: IO[str], secrets: Sequence[str]) -> Iterator[None]:
    """Write debug logs to a stream while the context is active; the root logger is not changed.

    Args:
        stream: such as sys.stderr.
        secrets: values to remove from every record.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    handler.addFilter(RedactingFilter(secrets))
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [(logger, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, level, propagate in before:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


@contextmanager
def quiet_sdk_logging() -> Iterator[None]:
    """Keep the SDK's records off the terminal while the context is active.

    Without any handler, logging prints warnings and errors on stderr as a last resort. A handler that the scenario sets
    on the root logger still gets every record.
    """
    handler = logging.NullHandler()
    loggers = [logging.getLogger(name) for name in _SDK_LOGGERS]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
