"""`[features]`."""

from __future__ import annotations

from pydantic import Field

from .section import Section


class FeaturesCfg(Section):
    """`[features]`: switches, typed booleans."""

    chat_page: bool = Field(True, description="Serve the chat page at /.")
    admin_page: bool = Field(True, description="Serve the operator's view at /admin; who sees anything there says `[api] admin_group`.")
    upload: bool = Field(True, description="Accept documents at POST /v1/documents.")
    openapi: bool = Field(True, description="Serve the API description at /docs and /openapi.json.")
    mcp: bool = Field(True, description="Serve the MCP server at /mcp; it needs the extra `mcp`.")
