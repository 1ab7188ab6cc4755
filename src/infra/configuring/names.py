"""Keys as people write them: ``search.host``, ``search host``, ``[search] host``, ``RAG_SEARCH__HOST``, in any case."""

from __future__ import annotations

import re
from difflib import get_close_matches

from ...errors import ConfigurationError
from .schema import ENV_DELIMITER, ENV_PREFIX, FieldSpec, all_names, find, keys_of, schema
from .sources import PROFILE_KEY, PROFILE_VARIABLE

_BETWEEN = re.compile(r"[\s.\[\]=]+")
_NEAR = 3


def select(text: str) -> tuple[FieldSpec, ...]:
    """The key that is meant, alone, or all keys of the section that is meant.

    Raises:
        ConfigurationError: there is no such key; names the nearest.
    """
    name = normal_name(text)
    keys = keys_of(name)
    if keys is not None:
        return tuple(keys.values())
    spec = find(name)
    if spec is None:
        raise unknown(name)
    return (spec,)


def normal_name(text: str) -> str:
    """``section.key``, or ``section``, of what somebody wrote."""
    name = text.strip()
    if name.upper() == PROFILE_VARIABLE:
        return PROFILE_KEY
    if name.upper().startswith(ENV_PREFIX):
        name = name[len(ENV_PREFIX) :].replace(ENV_DELIMITER, ".", 1)
    section, *rest = [part for part in _BETWEEN.split(name.lower()) if part] or [""]
    return ".".join((section, *(part.replace("-", "_") for part in rest)))


def unknown(name: str) -> ConfigurationError:
    """The error about a key that there is none of."""
    if keys_of(name) is not None:
        hint = f"It is a section; its keys are {', '.join(spec.name for spec in (keys_of(name) or {}).values())}."
    else:
        near = _nearest(name)
        hint = f"Did you mean {' or '.join(f'`{one}`' for one in near)}?" if near else "Keys are written section.key; `rag config show` lists them."
    return ConfigurationError(f"There is no configuration key {name!r}.", hint=hint)


def _nearest(name: str) -> list[str]:
    """The names most like it: the same key of other sections first, then what is spelt alike."""
    section, _, key = name.rpartition(".")
    own = tuple(spec.name for spec in (keys_of(section) or {}).values())
    same = [known for known in all_names() if known.endswith(f".{key}")]
    alike = get_close_matches(name, (*all_names(), *own, *schema()), _NEAR)
    return list(dict.fromkeys((*same, *alike)))[:_NEAR]
