"""The command line: ``crux``, also installed as ``providers-cli``."""
