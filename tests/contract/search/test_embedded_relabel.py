"""What only the embedded engine does: its vectors lie in no mapping, so an empty index takes any embedder."""

from __future__ import annotations

import numpy as np

from src.infra.search.protocol import DocumentWrite

from .builders import SYSTEM, write
from .conftest import Embedded


async def test_an_empty_index_takes_another_embedder() -> None:
    engine = Embedded()
    first = engine.open()
    await first.write([write("d1", ["x"])])
    await first.delete(["d1"], SYSTEM)
    await first.aclose()
    other = engine.open(embedder="other-model/2", dims=8)
    item = write("d2", ["y"])
    await other.write([DocumentWrite(item.document, item.chunks, np.ones((1, 8), np.float32))])
    info = await other.info()
    assert (info.embedder, info.views) == ("other-model/2", {"lexical": 1, "vector": 1})
    await other.aclose()
    engine.drop()
