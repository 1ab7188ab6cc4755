"""The cache behind the client factories: least recently used out first, and nothing that somebody still holds is closed.

A client that is evicted keeps its connections for whoever holds it. They close when nobody does and nothing is in flight
(the garbage collector tells), or at shutdown; one that is released, as a model does on closing, lets them go at once.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Client = TypeVar("Client")
CACHE_SIZE = 2
Closer = Callable[[], None]
Key = tuple[Any, ...]


class ClientCache(Generic[Client]):
    """Safe between threads.

    Args:
        closer: gives the function that lets a client's connections go. That function must not hold the client: it is called
            once nobody does. It may be called from any thread and at any moment, so it takes no lock but its own, reentrant ones.
    """

    def __init__(self, closer: Callable[[Client], Closer], size: int = CACHE_SIZE) -> None:
        self._closer = closer
        self._size = size
        self._lock = threading.Lock()
        self._clients: OrderedDict[Key, Client] = OrderedDict()
        self._evicted: list[tuple[Key, weakref.finalize[[], Client]]] = []

    def get(self, key: Key, make: Callable[[], Client]) -> Client:
        """The client of a key; one is made, under the lock, if there is none: making connects to nothing."""
        with self._lock:
            try:
                client = self._clients[key]
                self._clients.move_to_end(key)
            except KeyError:
                client = self._clients[key] = make()
                self._shrink()
        return client

    def release(self, client: object) -> bool:
        """Let the connections of a client go; False if it is not one of these, or already released."""
        return bool(self._let_go(lambda _key, found: found is client))

    def release_where(self, chosen: Callable[[Key], bool]) -> list[Client]:
        """Likewise for all whose key is chosen, evicted ones that somebody still holds included; they are returned."""
        return self._let_go(lambda key, _client: chosen(key))

    def clear(self) -> None:
        """Likewise for all."""
        self._let_go(lambda _key, _client: True)

    def resize(self, size: int) -> None:
        """Hold as many clients."""
        with self._lock:
            self._size = max(1, size)
            self._shrink()

    @property
    def size(self) -> int:
        """Clients that it holds at most."""
        return self._size

    def __len__(self) -> int:
        with self._lock:
            return len(self._clients)

    def _shrink(self) -> None:
        while len(self._clients) > self._size:
            key, client = self._clients.popitem(last=False)
            self._evicted = [entry for entry in self._evicted if entry[1].alive]
            ending = weakref.finalize(client, self._closer(client))
            ending.atexit = False  # sockets end with the process
            self._evicted.append((key, ending))

    def _let_go(self, chosen: Callable[[Key, Client], bool]) -> list[Client]:
        with self._lock:
            keys = [key for key, client in self._clients.items() if chosen(key, client)]
            found = [self._clients.pop(key) for key in keys]
            for key, ending in self._evicted:
                held = ending.peek()
                if held is not None and chosen(key, held[0]):
                    ending.detach()
                    found.append(held[0])
        for client in found:
            self._closer(client)()
        return found
