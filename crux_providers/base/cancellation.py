"""Cancelling a call from anywhere: one token, callbacks that end blocked reads."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from .errors import ErrorCode, ProviderError, short_message
from .logging import get_logger, log_event


class CancelledError(ProviderError):
    """The caller ended the call. A ProviderError (code ``cancelled``), not asyncio's."""

    def __init__(self, reason: str = "cancelled") -> None:
        super().__init__(ErrorCode.CANCELLED, reason)


class CancellationToken:
    """A switch that goes one way; safe to use from any thread.

    ``on_cancel`` registers what must happen at once (a socket shut down); it runs in the thread
    that cancels, or immediately where the token is cancelled already.
    """

    __slots__ = ("_callbacks", "_lock", "reason")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self.reason: str | None = None

    @property
    def cancelled(self) -> bool:
        """Whether someone cancelled."""
        return self.reason is not None

    def cancel(self, reason: str = "cancelled") -> None:
        """Cancel once; later calls change nothing. A callback that fails keeps no other back."""
        with self._lock:
            if self.reason is not None:
                return
            self.reason = reason or "cancelled"
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback()
            except Exception as exc:  # noqa: BLE001  # the next one may be what ends a blocked read
                log_event(
                    get_logger(), logging.WARNING, "cancel.callback.error",
                    operation="cancel", stage="callback", failure_class=type(exc).__name__,
                    error=short_message(str(exc)),
                )  # fmt: skip

    def on_cancel(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback`` on cancel; returns a function that takes it off again."""
        with self._lock:
            if self.reason is None:
                self._callbacks.append(callback)
                return lambda: self._remove(callback)
        callback()
        return lambda: None

    def _remove(self, callback: Callable[[], None]) -> None:
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

    def raise_if_cancelled(self) -> None:
        """Raise :class:`CancelledError` with the reason where someone cancelled."""
        if self.reason is not None:
            raise CancelledError(self.reason)
