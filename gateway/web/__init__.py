"""The browser's side: the console page, the dashboard, and what serves them."""

from gateway.web.assets import PageError
from gateway.web.dashboard import DASHBOARD_POLICY, dashboard_resource
from gateway.web.site import CONTENT_SECURITY_POLICY, console_resource, novnc_available, secure_headers

__all__ = [
    "CONTENT_SECURITY_POLICY",
    "DASHBOARD_POLICY",
    "PageError",
    "console_resource",
    "dashboard_resource",
    "novnc_available",
    "secure_headers",
]
