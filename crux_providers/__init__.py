"""A normalized layer over LLM providers: one request, one response, one stream, one error tree."""

__version__ = "0.1.0"

__all__ = ["__version__"]
