"""``python -m crux_integrations.cli``."""

from .main import main

main()
