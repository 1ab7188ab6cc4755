"""Privacy of the process as `[telemetry]` says: what is redacted, and whether and where content is kept."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..telemetry.content import LOGGER, capture_to
from ..telemetry.log_files import DAY_S, LogFile, Rotation
from ..telemetry.log_formats import JsonFormatter
from ..telemetry.redaction import use_policy
from .redacting import policy_of

if TYPE_CHECKING:
    from .config import Settings
    from .config.logging import LoggingCfg

FILE = "content/conversation.log"
"""In the data folder."""


_PERIODS = {"hourly": 3600, "daily": DAY_S, "never": 0}


def rotation(cfg: LoggingCfg) -> Rotation:
    """When files of lines are set aside, and how long they are kept."""
    return Rotation(cfg.max_bytes, _PERIODS[cfg.rotate], cfg.keep_files, cfg.keep_days * DAY_S)


def set_up_privacy(settings: Settings) -> None:
    """Redact as `[telemetry]` says, and keep content where it says. Again replaces what was set up before.

    Raises:
        ConfigurationError: see `policy_of`.
    """
    cfg = settings.telemetry
    use_policy(policy_of(cfg))
    stream = logging.getLogger(LOGGER)
    # Nothing of it reaches standard error, the other files, or a collector.
    stream.propagate = False
    stream.setLevel(logging.INFO)
    for old in list(stream.handlers):
        stream.removeHandler(old)
        old.close()
    if cfg.capture_content and cfg.content_to == "file":
        handler = LogFile(settings.storage.path / FILE, rotation(settings.logging))
        handler.setFormatter(JsonFormatter())
        stream.addHandler(handler)
    else:
        stream.addHandler(logging.NullHandler())
    capture_to(cfg.content_to if cfg.capture_content else "")
