"""The demo: a throw-away certificate authority, a console to look at, and the gateway between them."""
