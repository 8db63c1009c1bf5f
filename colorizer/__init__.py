"""Color for black-and-white photographs.

    from colorizer import ColorizationPipeline
    pipe = ColorizationPipeline.from_pretrained()
    pipe("photo.jpg").save("color.jpg")

The names below are looked up when they are first used (PEP 562), so that `import colorizer` costs nothing.
"""

import importlib

__version__ = "0.1.0"

_HOMES = {
    "ColorizationPipeline": "pipeline",
    "Coloring": "pipeline",
    "Hint": "pipeline",
    "Photo": "images",
    "Reference": "reference",
    "load_model": "hub",
    "create_model": "models",
    "list_models": "models",
    "ColorizerError": "errors",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__():
    return sorted({*globals(), *__all__})
