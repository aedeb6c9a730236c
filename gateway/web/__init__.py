"""The browser's side: the console page, and the site that serves it."""

from gateway.web.site import (
    CONTENT_SECURITY_POLICY,
    PageError,
    console_resource,
    novnc_available,
    secure_headers,
)

__all__ = ["CONTENT_SECURITY_POLICY", "PageError", "console_resource", "novnc_available", "secure_headers"]
