"""Console Gateway: virtual-machine consoles in front of people, safely.

Embedders start at :func:`gateway.service.make_service`; see ``docs/embedding.md``.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
