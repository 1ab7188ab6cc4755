"""A plugin of mypy that writes down which file reads which attribute of the models of the configuration, into the file that READERS_RECORD names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mypy.plugin import AttributeContext, MethodContext, Plugin
from mypy.types import Type

MODELS = ("src.infra.config", "src.retrieval.config")


def note(context: AttributeContext | MethodContext, fullname: str) -> None:
    with Path(os.environ["READERS_RECORD"]).open("a", encoding="utf-8") as file:
        file.write(f"{context.api.path} {'.'.join(fullname.split('.')[-2:])}\n")  # type: ignore[attr-defined] # the checker has it


class Recorder(Plugin):
    def get_attribute_hook(self, fullname: str) -> Callable[[AttributeContext], Type] | None:
        def record(context: AttributeContext) -> Type:
            note(context, fullname)
            return context.default_attr_type

        return record if fullname.startswith(MODELS) else None

    def get_method_hook(self, fullname: str) -> Callable[[MethodContext], Type] | None:
        def record(context: MethodContext) -> Type:
            note(context, fullname)
            return context.default_return_type

        return record if fullname.startswith(MODELS) else None


def plugin(version: str) -> type[Plugin]:
    return Recorder
