"""Keeps personal data out of the process log."""

from __future__ import annotations

import logging


class WithoutMessages(logging.Filter):
    """Replaces a traceback by the kind and place of the exception: its message may hold a value of a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place; it is always let through."""
        if record.exc_info and record.exc_info[1] is not None:
            kind, frame = type(record.exc_info[1]).__name__, record.exc_info[2]
            while frame is not None and frame.tb_next is not None:
                frame = frame.tb_next
            place = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else "an unknown place"
            record.msg, record.args = f"{record.getMessage()} {kind} at {place}", ()
            record.exc_info = record.exc_text = None
        return True
