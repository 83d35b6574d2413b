"""Files of web servers, read range by range. Source: RFC 9110 (HTTP Semantics), section 14 (Range Requests)."""

from __future__ import annotations

from instar_core.sources.spec import SourceSpec

SPEC = SourceSpec(("http", "https"), "instar_core.sources.web.file:opened", "HTTP, read range by range", files=True)
