"""Secrets that change while the program runs. Whoever holds a `LiveSecret` asks it anew for each use, and so sends the newest value."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn, Protocol, Self, TypeVar

from pydantic import BaseModel, SecretStr

from ...errors import DeadlineExceededError, RagError

if TYPE_CHECKING:
    from ..config import Settings

_HIDDEN = "**********"
_T = TypeVar("_T")


class Held(Protocol):
    """Where one value comes from: `FileSecret`, `VaultSecret`."""

    @property
    def place(self) -> str:
        """In words, for people."""
        ...

    @property
    def error(self) -> RagError | None:
        """Why it could not be read last; None where it could, or was not asked yet."""
        ...

    @property
    def known(self) -> str | None:
        """The value where no vault has to be asked for it."""
        ...

    def ask(self) -> str | Future[str]:
        """The value; a future only where there is none yet. Blocks for no more than a small local file."""
        ...

    def ask_again(self, used: str) -> str | Future[str] | None:
        """As `ask` after ``used`` was refused: what is there now, read anew where that is not known to be in vain; None where it is."""
        ...

    @property
    def hop(self) -> str:
        """The address that is asked; empty for a file."""
        ...

    @property
    def asking(self) -> bool:
        """Whether a vault is being asked now."""
        ...

    @property
    def denied(self) -> RagError | None:
        """Why there is a last value and no present one, where the vault itself said so last: it is gone, or disabled. None where the vault
        could not be asked."""
        ...

    def renewal(self, patience_s: float) -> Future[str] | None:
        """The reading to wait for where a value beyond its time will not do. None where it is of age, where there is none yet (`ask`
        waits), where reading failed a moment ago, and where it has taken longer than ``patience_s`` already."""
        ...

    def wait(self, flight: Future[str]) -> str:
        """The value of a future that `ask` gave."""
        ...

    async def wait_async(self, flight: Future[str]) -> str:
        """The same without blocking the event loop."""
        ...


class LiveSecret(SecretStr):
    """A `SecretStr` whose value is looked up whenever it is asked for, and may differ each time.

    ``get_secret_value()`` blocks at most once, while there is no value yet; `current` does not block the event loop then either. It
    is equal to another of the same places, whatever their values; so clients that are cached by their secrets stay the same ones. It
    cannot be pickled.

    Args:
        parts: text, and places that give text; together they are the value.
        change: what is made of that.
    """

    def __init__(self, parts: tuple[str | Held, ...], change: Callable[[str], str] | None = None) -> None:
        # Not the base's: it would keep a value.
        self._parts = parts
        self._change = change

    def get_secret_value(self) -> str:
        """The value of now.

        Raises:
            RagError: it could never be read; says why, with hop and setting.
        """
        return self._made([part if isinstance(part, str) else _waited(part, part.ask()) for part in self._parts])

    async def load(self) -> str:
        """`get_secret_value` without blocking the event loop."""
        return self._made([part if isinstance(part, str) else await _awaited(part, part.ask()) for part in self._parts])

    async def in_force(self, patience_s: float) -> str:
        """The value to let somebody in by: one beyond its time is read again first. Where that cannot be done, or not within
        ``patience_s`` (seconds), for the vault cannot be asked, the last one counts; where the vault says that it is gone, none does.

        Raises:
            RagError: it could never be read, or is gone.
        """
        for held in self.held:
            flight = held.renewal(patience_s)
            if flight is not None:
                with suppress(RagError, TimeoutError):  # logged where it happened
                    await _within(patience_s, held.wait_async(flight))
            if (denied := held.denied) is not None:
                raise copy.copy(denied)
        return await self.load()

    async def renewed(self, used: str) -> bool:
        """Whether there is another value than ``used``, which was refused; read anew where that is worth it."""
        for held in self.held:
            found = held.ask_again(used)
            if isinstance(found, Future):
                with suppress(RagError):  # logged where it happened; the old value is what there is
                    await held.wait_async(found)
        return await self.load() != used

    def renewed_blocking(self, used: str) -> bool:
        """`renewed` for threads."""
        for held in self.held:
            found = held.ask_again(used)
            if isinstance(found, Future):
                with suppress(RagError):  # as above
                    held.wait(found)
        return self.get_secret_value() != used

    def late(self, setting: str, within_s: float) -> RagError:
        """The error of a caller whose own time, which ``setting`` limits to ``within_s`` seconds, was over before the value was there."""
        asked = next((held for held in self.held if held.asking), None)
        place, hop = (asked.place, asked.hop) if asked is not None else (", ".join(self.places), "")
        hint = f"Check the way there; a secrets.timeout_s below {setting} lets it say what failed."
        return DeadlineExceededError(f"{place} was not there within {within_s:g} s.", hop=hop, setting="secrets.timeout_s", hint=hint)

    def derived(self, change: Callable[[str], str]) -> LiveSecret:
        """Another that is made of the value of this one."""
        before = self._change
        return LiveSecret(self._parts, change if before is None else lambda text: change(before(text)))

    @property
    def held(self) -> tuple[Held, ...]:
        """The places that it is read from."""
        return tuple(part for part in self._parts if not isinstance(part, str))

    @property
    def places(self) -> tuple[str, ...]:
        """Them in words."""
        return tuple(held.place for held in self.held)

    def _made(self, texts: list[str]) -> str:
        text = "".join(texts)
        return text if self._change is None else self._change(text)

    def _display(self) -> str:
        return _HIDDEN

    def __bool__(self) -> bool:
        return True  # configured, which is what is asked; its length would have to be fetched

    def __len__(self) -> int:
        return len(self.get_secret_value())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, LiveSecret):
            return self is other or (self._parts == other._parts and self._change == other._change)
        if not isinstance(other, SecretStr) or any(held.known is None for held in self.held):
            return False  # comparing asks no vault
        return self.get_secret_value() == other.get_secret_value()

    def __hash__(self) -> int:
        return hash(self._parts)  # not of the value, which changes

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("Secrets are not pickled; load the settings where they are used.")


async def current(secret: SecretStr) -> str:
    """The value of a secret, of whatever kind, without blocking the event loop.

    Raises:
        RagError: it could never be read.
    """
    return await secret.load() if isinstance(secret, LiveSecret) else secret.get_secret_value()


async def in_force(secret: SecretStr, patience_s: float) -> str:
    """The value to let somebody in by; see `LiveSecret.in_force`.

    Raises:
        RagError: it could never be read, or is gone.
    """
    return await secret.in_force(patience_s) if isinstance(secret, LiveSecret) else secret.get_secret_value()


async def renewed(secret: SecretStr, used: str, patience_s: float | None = None) -> bool:
    """Whether there is another value now than ``used``, which a service refused, or in place of which a caller sent another; None
    waits as long as reading it may take. Raises nothing: the refusal is what counts."""
    if not isinstance(secret, LiveSecret):
        return False
    try:
        return await _within(patience_s, secret.renewed(used))
    except (RagError, TimeoutError):
        return False


def renewed_blocking(secret: SecretStr, used: str) -> bool:
    """`renewed` for threads."""
    if not isinstance(secret, LiveSecret):
        return False
    try:
        return secret.renewed_blocking(used)
    except RagError:
        return False


def live_secrets(settings: Settings) -> Iterator[tuple[str, LiveSecret]]:
    """``section.key`` and secret of each that may change."""
    for section, model in settings:
        if isinstance(model, BaseModel):
            yield from ((f"{section}.{key}", value) for key, value in model if isinstance(value, LiveSecret))


async def _within(seconds: float | None, waiting: Awaitable[_T]) -> _T:
    import asyncio  # loading the configuration does without

    async with asyncio.timeout(seconds):
        return await waiting


def _waited(held: Held, found: str | Future[str]) -> str:
    return found if isinstance(found, str) else held.wait(found)


async def _awaited(held: Held, found: str | Future[str]) -> str:
    return found if isinstance(found, str) else await held.wait_async(found)
