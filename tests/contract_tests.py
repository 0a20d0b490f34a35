"""Which tests show which row of the contract, where a marker beside the test would be clumsy.

Row → tests below ``tests/``, separated by spaces: ``file::function``, or a file for all in it.
"""

from __future__ import annotations

TESTS: dict[str, str] = {
    "98": "base/test_logging.py::test_the_level_comes_from_the_environment",
}
