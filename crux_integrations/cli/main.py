"""The entry point of ``crux``; imports nothing heavy before it knows what is asked."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

NEEDS_EXTRA = "crux: the command line needs click and rich: pip install 'crux-integrations[cli]'"


EXIT_CODES: Mapping[str, int] = {
    "crux_providers.base.errors.ProviderError": 1,
    "crux_providers.config.errors.ConfigError": 1,
    "crux_providers.persistence.errors.StorageError": 1,
    "crux_integrations.router.config.RoutesError": 1,
    "crux_integrations.testing.cassette_file.CassetteFormatError": 1,
    "json.decoder.JSONDecodeError": 1,
    "builtins.OSError": 1,
    "builtins.ValueError": 2,
}
"""Exceptions that say in words what is wrong, by name: none of them is imported for this."""


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 only on success, 1 for a failure, 2 for wrong usage."""
    try:
        import click
        import rich  # noqa: F401  # both belong to the extra
    except ImportError:
        print(NEEDS_EXTRA, file=sys.stderr)
        sys.exit(2)
    from .commands import cli

    arguments = None if argv is None else list(argv)
    try:
        code = cli.main(arguments, prog_name="crux", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:
        known = next(
            (c for kind in type(error).__mro__ if (c := EXIT_CODES.get(_name(kind)))), None
        )
        if known is None:
            raise  # a fault of our own: its traceback is worth having
        print(f"crux: {_words(error)}", file=sys.stderr)
        sys.exit(known)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
