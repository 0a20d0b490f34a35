"""The entry point of ``crux``; imports nothing heavy before it knows what is asked."""

from __future__ import annotations

import sys
from collections.abc import Sequence

NEEDS_EXTRA = "crux: the command line needs click and rich: pip install 'crux-integrations[cli]'"


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
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
