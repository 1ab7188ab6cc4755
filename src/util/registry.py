"""Name to factory. A name that nobody registered is looked up among the installed packages' entry points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from ..errors import ConfigurationError

F = TypeVar("F", bound=Callable[..., object])


class Registry(Generic[F]):
    """Factories of one kind, by name.

    Args:
        kind: what is registered, for messages: ``resource``.
        group: entry point group in which packages, this one included, announce factories without being imported.
    """

    def __init__(self, kind: str, group: str) -> None:
        self._kind = kind
        self._group = group
        self._factories: dict[str, F] = {}

    def register(self, name: str, factory: F) -> None:
        """Add a factory, or replace the one of this name (tests and companies do)."""
        self._factories[name] = factory

    def get(self, name: str) -> F:
        """The factory of a name.

        Raises:
            ConfigurationError: nobody offers it; lists what there is.
        """
        if name not in self._factories:
            self._factories[name] = self._load(name)
        return self._factories[name]

    def names(self) -> tuple[str, ...]:
        """All names, registered and announced, sorted."""
        from importlib.metadata import entry_points

        return tuple(sorted({*self._factories, *(entry.name for entry in entry_points(group=self._group))}))

    def _load(self, name: str) -> F:
        from importlib.metadata import entry_points

        for entry in entry_points(group=self._group, name=name):
            factory: F = entry.load()
            return factory
        raise ConfigurationError(f"There is no {self._kind} named {name!r}.", hint=f"There are: {', '.join(self.names())}.")
