"""What Schemathesis has to be told: the formats of the control API that JSON schema has no word for."""

from __future__ import annotations

import schemathesis
from hypothesis import strategies as st

schemathesis.openapi.format(
    "utf8-120",
    st.text(st.characters(codec="utf-8"), max_size=120).filter(lambda text: len(text.encode()) <= 120),
)
